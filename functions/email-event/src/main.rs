//! Starts the function; what it does is in the library beside.

use std::sync::Arc;

use cloud::Cloud;
use content::Funnel;
use email_event::EmailEvents;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    cloud::log_to_stdout();
    let cloud = Cloud::from_lambda()?;
    let funnel =
        Funnel::load(&cloud.funnel_directory()).map_err(|problems| content::problem::report(&problems))?;
    let function = EmailEvents::start(cloud, Arc::new(funnel)).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<_>| function.handle(event.payload))).await
}
