//! Every line that any flow logs is kept, and looked through for what must not be there.

use std::{
    io::Write,
    sync::{Mutex, Once},
};

use serde_json::json;
use web::link::Purpose;

use crate::world::World;

static LOG: Mutex<Vec<u8>> = Mutex::new(vec![]);

struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on, at the level that is logged in AWS and one below.
pub fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new(
            "debug,aws_smithy_runtime=info,aws_sdk_dynamodb=info,aws_sigv4=info",
        );
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Kept).init();
    });
}

/// All lines so far.
pub fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

#[tokio::test]
async fn no_log_line_holds_an_address_a_name_a_number_or_a_token() {
    let world = World::new().await;
    let person = json!({"email": "hanako.private@example.org", "name": "山田華子", "phone": "090-1234-5678", "consent": true, "time_zone": "Nowhere/X"});
    let lead_id =
        domain::id::Id::parse(world.post("/opt-in", &person).await.json()["lead_id"].as_str().unwrap())
            .unwrap();
    world.post("/opt-in", &json!({"email": "hanako.private@", "name": "山田華子\n"})).await;
    let booked = world.book(&lead_id, "2027-03-05").await;
    world.buy(&lead_id, "vip").await;
    world.until("2027-03-12T00:00:00Z").await;
    let token = world.token(Purpose::Unsubscribe, &lead_id);
    world.send("POST", &format!("/unsubscribe?t={token}"), &[], "").await;
    world.get("/unsubscribe?t=broken-token-value").await;
    assert!(booked["manage_url"].is_string());

    let log = log();
    assert!(log.contains("a lead was enrolled"), "the functions log what they do");
    for secret in
        ["hanako.private", "山田", "090-1234", token.as_str(), "broken-token-value", "sk_test", "whsec"]
    {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in the log: {line:?}");
    }
}
