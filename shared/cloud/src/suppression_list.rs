//! SES's own list of addresses that it sends nothing to, whichever stack of the account asks.
//!
//! SES answers such calls once a second at most, so that each waits for its turn. Errors tell SES's
//! code only: its messages repeat addresses.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aws_sdk_sesv2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime as SdkTime,
    types::SuppressionListReason,
};
use aws_smithy_async::rt::sleep::{AsyncSleep, SharedAsyncSleep};
use chrono::{DateTime, Utc};
use domain::{email_address::EmailAddress, lead::ListReason, limits::SES_CALL_MILLIS};

use crate::{CallError, Cloud};

/// The account's suppression list.
#[derive(Debug)]
pub struct SuppressionList {
    client: Client,
    sleep: SharedAsyncSleep,
    called: AtomicBool,
}

/// An entry of the list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// As SES writes it; it need not be one that we would take.
    pub address: String,
    /// Since when it stands there.
    pub since: DateTime<Utc>,
}

impl SuppressionList {
    /// The account's list. Calls of one client keep SES's pace.
    pub fn new(cloud: &Cloud) -> Self {
        Self { client: Client::new(&cloud.sdk), sleep: cloud.sleep(), called: AtomicBool::new(false) }
    }

    /// Puts an address on the list. One that stands there already stays there. `false` if SES takes it
    /// for no address.
    ///
    /// # Errors
    /// [`CallError`] if SES does not do it.
    pub async fn put(&self, address: &EmailAddress, reason: ListReason) -> Result<bool, CallError> {
        self.turn().await;
        let reason = match reason {
            ListReason::Bounce => SuppressionListReason::Bounce,
            ListReason::Complaint => SuppressionListReason::Complaint,
        };
        let put = self.client.put_suppressed_destination().email_address(address.as_str()).reason(reason);
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_bad_request_exception()) => {
                Ok(false)
            }
            Err(error) => Err(refused("putting an address on SES's list", &error)),
        }
    }

    /// Takes an address off the list. One that does not stand there is as good as taken off.
    ///
    /// # Errors
    /// [`CallError`] if SES does not do it.
    pub async fn remove(&self, address: &EmailAddress) -> Result<(), CallError> {
        self.turn().await;
        let remove = self.client.delete_suppressed_destination().email_address(address.as_str()).send();
        match remove.await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found_exception()) => {
                Ok(())
            }
            Err(error) => Err(refused("taking an address off SES's list", &error)),
        }
    }

    /// One page of what was put there since, and where the next page starts.
    ///
    /// # Errors
    /// [`CallError`] if SES does not say.
    pub async fn page(
        &self,
        since: DateTime<Utc>,
        start: Option<String>,
    ) -> Result<(Vec<Listed>, Option<String>), CallError> {
        self.turn().await;
        let since = SdkTime::from_secs(since.timestamp());
        let answer = self.client.list_suppressed_destinations().start_date(since).set_next_token(start);
        let answer = answer.send().await.map_err(|error| refused("reading SES's list", &error))?;
        let entries = answer.suppressed_destination_summaries.unwrap_or_default();
        let listed = entries.into_iter().filter_map(|entry| {
            let since = DateTime::from_timestamp_millis(entry.last_update_time.to_millis().ok()?)?;
            Some(Listed { address: entry.email_address, since })
        });
        Ok((listed.collect(), answer.next_token))
    }

    async fn turn(&self) {
        if self.called.swap(true, Ordering::Relaxed) {
            self.sleep.sleep(Duration::from_millis(SES_CALL_MILLIS)).await;
        }
    }
}

fn refused<E: ProvideErrorMetadata>(doing: &'static str, error: &SdkError<E>) -> CallError {
    CallError { doing, reason: error.code().unwrap_or("no answer").to_owned() }
}
