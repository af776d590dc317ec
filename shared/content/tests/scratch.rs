
use std::path::Path;
#[test]
fn scratch() {
    for name in ["coaching", "shop", "webinar", "saas-trial", "b2b"] {
        let start = std::time::Instant::now();
        let checked = content::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels").join(name));
        println!("===== {name} {:?} {:?}", checked.funnel.is_some(), start.elapsed());
        for p in checked.problems.iter().filter(|p| !p.what.contains("page is missing") ) {
            if p.file.starts_with("mails/") && p.is_error() && !std::env::var("ALL").is_ok() { continue }
            println!("{p}");
        }
    }
}
