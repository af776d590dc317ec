use chrono::TimeDelta;
use michi::person;
use serde_json::{Value, json};

use crate::{draft::Draft, world::World};

const HER: &str = "hanako@example.com";

#[tokio::test]
async fn details_are_kept_as_long_as_the_funnel_says_and_consents_longer() {
    let news = "entry = [\"opted_in\"]\n\n[[steps]]\nid = \"one\"\nsend = \"one\"\n";
    let draft = Draft::new().sequence("news", news).config("[retention]\nvisits = 30\nmails = 40");
    let world = World::with(&draft).await;
    world.see("pricing").await;
    let lead_id = world.opt_in_with(HER, json!({"lead_magnet_type": "guide"})).await;
    world.open(HER, "one").await;
    let kept = async || {
        let document: Value =
            serde_json::from_str(&person::export(&world.remote(), HER).await.unwrap()).unwrap();
        let kinds = document["facts"].as_array().unwrap().iter().map(|fact| fact["kind"].as_str().unwrap());
        let mails = document["mails"].as_array().unwrap().len();
        (kinds.map(str::to_owned).collect::<Vec<_>>().join(" "), mails)
    };
    let (facts, mails) = kept().await;
    for fact in ["visited", "opted_in", "mail_sent", "mail_opened"] {
        assert!(facts.contains(fact), "{fact} in {facts}");
    }
    assert_eq!(mails, 1);
    world.pass(TimeDelta::days(30)).await;
    let (facts, mails) = kept().await;
    assert!(!facts.contains("visited") && facts.contains("mail_opened") && mails == 1, "{facts}");
    world.pass(TimeDelta::days(10)).await;
    assert_eq!(kept().await, ("opted_in".to_owned(), 0));
    assert_eq!(world.stands(&lead_id, "news").await, "Finished at –: one settled");
    assert!(person::export(&world.remote(), HER).await.unwrap().contains("同意します。"));
}
