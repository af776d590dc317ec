use std::path::Path;

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use tower::util::ServiceExt;

use super::*;

async fn get_page(router: &Router, path: &str, host: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1_000_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn coaching() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../funnels/coaching")
}

#[tokio::test]
async fn every_mail_is_shown_for_the_person_that_is_chosen() {
    let router = router(coaching());
    let (status, list) = get_page(&router, "/", "localhost:4100").await;
    assert_eq!(status, StatusCode::OK);
    assert!(list.contains("/mails/welcome") && list.contains("welcome&#x2f;welcome"), "{list}");
    let (_, page) = get_page(&router, "/mails/welcome?name=", "localhost:4100").await;
    assert!(page.contains("こんにちは。"), "somebody without a name");
    let (_, html) = get_page(&router, "/mails/welcome/html?name=%E5%A4%AA%E9%83%8E", "localhost:4100").await;
    assert!(html.contains("太郎 様"), "somebody with one");
    let (status, _) = get_page(&router, "/mails/none", "localhost:4100").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_broken_funnel_shows_what_to_mend_until_it_is_mended() {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&coaching(), copy.path());
    let router = router(copy.path().to_owned());
    let file = copy.path().join("mails/welcome.md");
    let good = fs::read_to_string(&file).unwrap();
    let (_, before) = get_page(&router, "/version", "localhost").await;
    fs::write(&file, good.replace("download_url", "downlod_url")).unwrap();
    let (_, page) = get_page(&router, "/", "localhost").await;
    assert!(page.contains("mails&#x2f;welcome.md") || page.contains("mails/welcome.md"), "{page}");
    assert!(page.contains("download_url"), "{page}");
    let (_, after) = get_page(&router, "/version", "localhost").await;
    assert_ne!(before, after, "the browser is told to look again");
    fs::write(&file, good).unwrap();
    let (_, page) = get_page(&router, "/", "localhost").await;
    assert!(page.contains("/mails/welcome"));
}

#[tokio::test]
async fn another_sites_name_for_this_machine_gets_nothing() {
    let (status, _) = get_page(&router(coaching()), "/", "evil.example.com").await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
