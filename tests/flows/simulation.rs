use std::path::Path;

use michi::simulate::{Options, Report, simulate};

async fn play(seed: u64) -> Report {
    let options = Options { leads: 25, days: 14, seed, start: "2027-03-01".parse().unwrap() };
    simulate(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../funnels/coaching")), &options).await.unwrap()
}

fn told(report: &Report) -> serde_json::Value {
    let mut told = serde_json::to_value(report).unwrap();
    told.as_object_mut().unwrap().remove("wall_ms");
    told
}

#[tokio::test]
async fn the_same_seed_gives_the_same_figures_and_another_seed_others() {
    let (first, second, other) = (play(7).await, play(7).await, play(8).await);
    assert_eq!(told(&first), told(&second));
    assert_ne!(told(&first)["kpi_daily"], told(&other)["kpi_daily"]);
    assert_eq!((first.leads, first.virtual_days, first.kpi_daily.len()), (25, 14, 14));
    assert!(first.mails_opened > 0 && first.mails_opened < first.mails_sent, "{first:?}");
}
