//! Whole tables, for pages that show everybody. The product never scans; these tables are a laptop's.

use aws_sdk_dynamodb::Client;
use cloud::CallError;
use domain::erasure::Row;
use domain::lead::Lead;
use domain::sequence::Enrolment;
use serde::de::DeserializeOwned;

use super::Dev;

/// The most rows that are read of a table, and more by at most a page.
const MAX_ROWS: usize = 5_000;

/// The rows of a table.
pub(super) struct Rows<T> {
    pub(super) rows: Vec<T>,
    /// Whether there are more.
    pub(super) cut: bool,
}

impl Dev {
    /// Everybody, the latest first.
    pub(super) async fn leads(&self) -> Result<Rows<Lead>, CallError> {
        let Rows { rows, cut } = self.scan::<Row>("Leads", "reading all leads").await?;
        let leads = rows.into_iter().filter_map(|row| match row {
            Row::Lead(lead) => Some(*lead),
            Row::Erased(_) => None,
        });
        let mut leads = Rows { rows: leads.collect::<Vec<_>>(), cut };
        leads.rows.sort_by(|a, b| (b.opt_in_date, &b.lead_id).cmp(&(a.opt_in_date, &a.lead_id)));
        Ok(leads)
    }

    /// The enrolments that go on, the next due first.
    pub(super) async fn waiting(&self) -> Result<Vec<Enrolment>, CallError> {
        let mut enrolments = self.scan::<Enrolment>("Enrolments", "reading all enrolments").await?.rows;
        enrolments.retain(|enrolment| enrolment.next_due.is_some());
        enrolments.sort_by(|a, b| (a.next_due, &a.enrolment_key).cmp(&(b.next_due, &b.enrolment_key)));
        Ok(enrolments)
    }

    async fn scan<T: DeserializeOwned>(
        &self,
        table: &str,
        doing: &'static str,
    ) -> Result<Rows<T>, CallError> {
        let client = Client::new(&self.cloud().sdk_config());
        let (mut rows, mut start) = (Vec::new(), None);
        loop {
            let page = client.scan().table_name(table).set_exclusive_start_key(start).send().await;
            let page = page.map_err(|error| CallError::new(doing, error))?;
            for item in page.items.unwrap_or_default() {
                let row = serde_dynamo::from_item(item);
                rows.push(row.map_err(|error| CallError { doing, reason: error.to_string() })?);
            }
            start = page.last_evaluated_key;
            if start.is_none() || rows.len() >= MAX_ROWS {
                return Ok(Rows { rows, cut: start.is_some() });
            }
        }
    }
}
