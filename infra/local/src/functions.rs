//! Starts the very functions that Lambda starts, inside the local cloud.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use cloud::{Cloud, Env, StartError, keys::Keys};
use content::{Checked, Funnel, Problem};
use integrations::stripe::StripeSecrets;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    clock::Clock,
    engine::{CloudError, Handler, LocalCloud, Store},
    template::{Stack, TemplateError},
};

/// The template that is deployed is the one that is played here.
const TEMPLATE: &str = include_str!("../../template.yaml");

/// Name of the stack on one machine.
pub const STACK: &str = "michi";

/// Why the product can't start on this machine.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The funnel's files have problems, listed as `check` does.
    #[error("the funnel has problems:\n{0}")]
    Funnel(String),
    /// The template can't be played.
    #[error("infra/template.yaml: {0}")]
    Template(#[from] TemplateError),
    /// The local cloud can't be opened.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// A function refused its environment.
    #[error("a function could not start: {0}")]
    Start(#[from] StartError),
}

/// The secrets that an operator puts into SSM.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// For ids and links.
    pub keys: Keys,
    /// For payments.
    pub stripe: StripeSecrets,
}

impl Secrets {
    /// Fixed ones: the same run gives the same bytes, and nothing here is worth stealing.
    pub fn fixed() -> Self {
        Self {
            keys: Keys::generate([1; 32], [2; 32]),
            stripe: StripeSecrets {
                secret_key: "sk_test_local".to_owned(),
                webhook_secrets: vec!["whsec_local".to_owned()],
                api_base: "https://api.stripe.com".to_owned(),
            },
        }
    }
}

/// Reads a funnel.
///
/// # Errors
/// [`LaunchError::Funnel`] with every problem in it.
pub fn load_funnel(directory: &Path) -> Result<Arc<Funnel>, LaunchError> {
    let Checked { mut problems, funnel } = content::check(directory);
    problems.retain(Problem::is_error);
    let broken = || LaunchError::Funnel(content::problem::report(&problems));
    funnel.map(Arc::new).ok_or_else(broken)
}

/// How often lost work is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweeps {
    /// As the template says.
    AsDeployed,
    /// Every two hours: in weeks that pass in seconds, looking every ten minutes would be most of
    /// the work. Nine minutes past, the sweep finds two whole hours over, and none is left out.
    Seldom,
}

/// The stack of the template, as it is deployed for a funnel.
///
/// # Errors
/// [`TemplateError`] if the template can't be played.
pub fn stack(funnel: &Funnel, public_url: &str, sweeps: Sweeps) -> Result<Stack, TemplateError> {
    let mut parameters = BTreeMap::from([
        ("PublicUrl".to_owned(), public_url.to_owned()),
        ("SenderAddress".to_owned(), funnel.sender.address.as_str().to_owned()),
    ]);
    if sweeps == Sweeps::Seldom {
        parameters.insert("SweepSchedule".to_owned(), "cron(9 1/2 * * ? *)".to_owned());
    }
    Stack::parse(TEMPLATE, STACK, &parameters)
}

/// Opens a local cloud with a stack of the template and starts all functions in it.
///
/// # Errors
/// [`LaunchError`].
pub async fn launch(
    stack: Stack,
    funnel: Arc<Funnel>,
    store: Store,
    clock: Clock,
    secrets: &Secrets,
) -> Result<LocalCloud, LaunchError> {
    let local = LocalCloud::new(stack, store, clock)?;
    put_secret(&local, "/michi/keys", &secrets.keys).await?;
    put_secret(&local, "/michi/stripe", &secrets.stripe).await?;
    start(&local, &funnel).await?;
    Ok(local)
}

async fn put_secret(local: &LocalCloud, name: &str, secret: &impl Serialize) -> Result<(), StartError> {
    let unwritten = |reason: String| StartError::Parameter { name: name.to_owned(), reason };
    let text = serde_json::to_string(secret).map_err(|error| unwritten(error.to_string()))?;
    let client = cloud::keys::client(&cloud_of(local, "opt-in"));
    let put = client.put_parameter().name(name).value(text).r#type(cloud::keys::SECURE).overwrite(true);
    put.send().await.map(|_| ()).map_err(|error| unwritten(error.to_string()))
}

/// Starts all functions with this funnel, in place of those that ran before: what a deployment does.
///
/// # Errors
/// [`StartError`] if a function refuses its environment.
pub async fn start(local: &LocalCloud, funnel: &Arc<Funnel>) -> Result<(), StartError> {
    macro_rules! register {
        ($name:literal, $function:ty) => {{
            let function = Arc::new(<$function>::start(cloud_of(local, $name), Arc::clone(funnel)).await?);
            local.register(
                $name,
                handler(move |event| {
                    let function = Arc::clone(&function);
                    async move { function.handle(event).await }
                }),
            );
        }};
    }
    register!("opt-in", opt_in::OptIn);
    register!("email-event", email_event::EmailEvents);
    register!("booking", booking::Booking);
    register!("payment", payment::Payments);
    register!("relay", relay::Relay);
    register!("delivery", delivery::Delivery);
    register!("nightly-aggregation", nightly_aggregation::NightlyAggregation);
    register!("console", console::Console);
    Ok(())
}

/// What the template tells a function of a stack in its environment.
///
/// # Errors
/// [`TemplateError`] if the template can't be read.
pub fn stack_environment(stack: &str, function: &str) -> Result<BTreeMap<String, String>, TemplateError> {
    // Only a policy speaks of it; it has no default, since nobody else's would do.
    let parameters = BTreeMap::from([("SenderAddress".to_owned(), "mail@example.com".to_owned())]);
    let stack = Stack::parse(TEMPLATE, stack, &parameters)?;
    Ok(stack.functions.get(function).map(|function| function.environment.clone()).unwrap_or_default())
}

/// The cloud as the function of that name sees it.
pub fn cloud_of(local: &LocalCloud, function: &str) -> Cloud {
    let environment = local.stack().functions.get(function).map(|function| function.environment.clone());
    Cloud {
        sdk: local.sdk_config(),
        env: Env::from_map(environment.unwrap_or_default()),
        http: local.connector(),
        mail: local.connector(),
    }
}

/// Wraps a typed handler as Lambda's runtime does: JSON in, JSON out, an error as its text.
fn handler<E, A, F>(function: impl Fn(E) -> F + Send + Sync + 'static) -> Handler
where
    E: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Result<A, lambda_runtime::Error>> + Send + 'static,
{
    Arc::new(move |event: Value| match serde_json::from_value::<E>(event) {
        Err(error) => Box::pin(async move { Err(format!("the event can't be read: {error}")) }),
        Ok(event) => {
            let answer = function(event);
            Box::pin(async move {
                let answer = answer.await.map_err(|error| error.to_string())?;
                serde_json::to_value(answer).map_err(|error| error.to_string())
            })
        }
    })
}
