use axum::body::Body;
use axum::http::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use domain::id::Id;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use web::link::Purpose;

use super::*;

/// The sample funnel, as seen from this package.
pub(crate) const FUNNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../funnels/coaching");
/// A Sunday morning in Tokyo.
pub(crate) const START: &str = "2026-11-22T01:00:00Z";
const URL: &str = "http://localhost:4000";
const FORM: &str = "application/x-www-form-urlencoded";

async fn dev() -> Dev {
    Dev::in_memory(load_funnel(FUNNEL.as_ref()).unwrap(), Clock::frozen(START.parse().unwrap()), URL)
        .await
        .unwrap()
}

struct Answer {
    status: u16,
    location: String,
    cookie: String,
    content_type: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }
}

async fn send(dev: &Dev, request: axum::http::request::Builder, body: &str) -> Answer {
    let request = request.header(HOST, "localhost:4000").body(Body::from(body.to_owned())).unwrap();
    let response = router(dev.clone()).oneshot(request).await.unwrap();
    let header = |name| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (status, location, cookie, content_type) =
        (response.status().as_u16(), header(LOCATION), header(SET_COOKIE), header(CONTENT_TYPE));
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answer { status, location, cookie, content_type, body: String::from_utf8(body.to_vec()).unwrap() }
}

async fn get(dev: &Dev, path: &str) -> Answer {
    send(dev, Request::get(path), "").await
}

async fn look(dev: &Dev, path: &str) -> Answer {
    send(dev, Request::get(path).header(ACCEPT, "text/html"), "").await
}

async fn post(dev: &Dev, path: &str, body: Value) -> Answer {
    send(dev, Request::post(path).header(CONTENT_TYPE, "application/json"), &body.to_string()).await
}

async fn submit(dev: &Dev, path: &str, form: &str) -> Answer {
    send(
        dev,
        Request::post(path).header(ACCEPT, "text/html").header(CONTENT_TYPE, FORM).header(ORIGIN, URL),
        form,
    )
    .await
}

async fn opted_in() -> (Dev, Id) {
    let dev = dev().await;
    let answer =
        post(&dev, "/opt-in", json!({"email": "hanako@example.com", "name": "花子", "consent": true})).await;
    let lead_id = Id::parse(answer.json()["lead_id"].as_str().unwrap()).unwrap();
    (dev, lead_id)
}

#[tokio::test]
async fn a_script_reads_opens_and_clicks_a_mail_and_moves_the_clock() {
    let (dev, lead_id) = opted_in().await;
    let mails = get(&dev, "/local/mails").await.json();
    let mail = &mails[0];
    assert_eq!(
        (mails.as_array().unwrap().len(), &mail["id"], &mail["to"]),
        (1, &json!(1), &json!("hanako@example.com"))
    );
    assert_eq!((&mail["lead_id"], &mail["sent_at"]), (&json!(lead_id), &json!("2026-11-22T01:00:00.000Z")));
    assert_eq!(mail["headers"]["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
    assert!(
        mail["html"].as_str().unwrap().contains("花子") && mail["text"].as_str().unwrap().contains("花子")
    );
    assert_eq!(get(&dev, "/local/mails/1").await.json(), *mail);
    let engagement_id = mail["engagement_id"].as_str().unwrap();
    let row = async || dev.0.tables.engagement(&lead_id, engagement_id).await.unwrap().unwrap();

    let machine = post(&dev, "/local/mails/1/open", json!({"user_agent": "Mozilla/5.0"})).await;
    assert_eq!((machine.status, row().await.opened, row().await.machine_opened), (200, false, true));
    assert_eq!(send(&dev, Request::post("/local/mails/1/open"), "").await.status, 200);
    assert!(row().await.opened && !row().await.clicked);

    let links: Vec<&str> = mail["links"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let (way_out, download) = (links.iter().find(|link| link.contains("/unsubscribe")).unwrap(), links[0]);
    assert_eq!(post(&dev, "/local/mails/1/click", json!({"link": way_out})).await.json()["tracked"], false);
    assert!(!row().await.clicked, "SES does not see links that it may not rewrite");
    assert_eq!(post(&dev, "/local/mails/1/click", json!({"link": download})).await.json()["tracked"], true);
    assert!(row().await.clicked);
    let wrong = post(&dev, "/local/mails/1/click", json!({"link": "https://example.com/"})).await;
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["field"]), (422, &json!("link")));
    assert!(wrong.body.contains(download), "{}", wrong.body);

    let clock = post(&dev, "/local/clock", json!({"advance": "P7D"})).await.json();
    assert_eq!(
        (&clock["now"], &clock["time_zone"]),
        (&json!("2026-11-29T01:00:00.000Z"), &json!("Asia/Tokyo"))
    );
    assert_eq!(
        (&clock["local"], &get(&dev, "/local/clock").await.json()),
        (&json!("2026-11-29T10:00:00.000+09:00"), &clock)
    );
    let later =
        get(&dev, "/local/mails?to=HANAKO@example.com&after=2026-11-22T10:00:00%2B09:00").await.json();
    assert_eq!(later.as_array().unwrap().len(), 7, "the seven days' mails");
    assert_eq!(get(&dev, "/local/mails?after=6").await.json()[0]["id"], 7);
    assert_eq!(get(&dev, "/local/mails?to=taro@example.com").await.json(), json!([]));
}

#[tokio::test]
async fn a_complaint_ends_all_mail() {
    let (dev, _) = opted_in().await;
    assert_eq!(send(&dev, Request::post("/local/mails/1/complaint"), "").await.status, 200);
    post(&dev, "/local/clock", json!({"advance": "P2D"})).await;
    assert_eq!(get(&dev, "/local/mails").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_wrong_move_of_the_clock_says_what_is_right() {
    let dev = dev().await;
    for advance in [
        json!("-P1D"),
        json!("PT0S"),
        json!("P11Y"),
        json!("P3660D"),
        json!("tomorrow"),
        json!("P"),
        json!(1),
        json!(null),
    ] {
        let answer = post(&dev, "/local/clock", json!({"advance": advance})).await;
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (422, "application/problem+json"),
            "{advance}: {}",
            answer.body
        );
        assert_eq!(answer.json()["errors"][0]["field"], "advance", "{advance}");
    }
    assert!(
        post(&dev, "/local/clock", json!({"advance": "soon"})).await.body.contains("P1D"),
        "with an example"
    );
    assert_eq!(get(&dev, "/local/clock").await.json()["now"], "2026-11-22T01:00:00.000Z");
}

#[tokio::test]
async fn every_wrong_request_is_answered_with_a_problem() {
    let (dev, _) = opted_in().await;
    let json_type = "application/json";
    for (method, path, kind, body, status) in [
        ("GET", "/local/nowhere", json_type, "", 404),
        ("DELETE", "/local/mails/1", json_type, "", 404),
        ("GET", "/local/mails/2", json_type, "", 404),
        ("GET", "/local/mails/x", json_type, "", 404),
        ("GET", "/local/mails?after=yesterday", json_type, "", 422),
        ("POST", "/local/mails/1/click", json_type, "", 422),
        ("POST", "/local/mails/1/click", json_type, "{", 400),
        ("POST", "/local/mails/1/click", "text/plain", "link", 415),
        ("POST", "/local/mails/9/open", json_type, "", 404),
        ("POST", "/local/clock", json_type, "[]", 400),
        ("POST", "/local/nightly", json_type, r#"{"date": "2026-11-23"}"#, 422),
        ("POST", "/local/nightly", json_type, r#"{"date": "tomorrow"}"#, 422),
        ("GET", "/local/inbox/1/attachments/0", json_type, "", 404),
        ("GET", "/local/inbox/1/click?link=https%3A%2F%2Fevil.example", json_type, "", 404),
        ("GET", "/local/checkout/cs_test_1", json_type, "", 404),
        ("POST", "/local/checkout/cs_test_1/pay", json_type, "", 404),
        ("GET", "/local/people/Nobody", json_type, "", 404),
    ] {
        let answer =
            send(&dev, Request::builder().method(method).uri(path).header(CONTENT_TYPE, kind), body).await;
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (status, "application/problem+json"),
            "{method} {path}: {}",
            answer.body
        );
    }
    let large =
        send(&dev, Request::post("/local/clock").header(CONTENT_TYPE, json_type), &"x".repeat(65 * 1024))
            .await;
    assert_eq!((large.status, large.json()["status"].as_i64()), (413, Some(413)));
}

#[tokio::test]
async fn a_page_elsewhere_can_neither_read_nor_act() {
    let dev = dev().await;
    let advance = |origin: &'static str, host: &'static str| {
        let request = Request::post("/local/clock")
            .header(ORIGIN, origin)
            .header(HOST, host)
            .header(CONTENT_TYPE, FORM);
        router(dev.clone()).oneshot(request.body(Body::from("advance=P1D")).unwrap())
    };
    assert_eq!(advance("https://evil.example", "localhost:4000").await.unwrap().status(), 403);
    assert_eq!(advance("null", "localhost:4000").await.unwrap().status(), 403);
    assert_eq!(advance("http://localhost:4000", "evil.example:4000").await.unwrap().status(), 421);
    assert_eq!(advance("http://127.0.0.1:4000", "127.0.0.1:4000").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_browser_reads_a_mail_and_follows_its_links() {
    let (dev, lead_id) = opted_in().await;
    let inbox = look(&dev, "/local/inbox").await;
    assert!(
        inbox.body.contains("hanako@example.com")
            && inbox.body.contains("送信済み")
            && !inbox.body.contains("class=\"badge opened\""),
        "{}",
        inbox.body
    );
    let mail = look(&dev, "/local/inbox/1").await;
    assert!(
        mail.body.contains("class=\"badge opened\"")
            && mail.body.contains(&format!("/local/people/{lead_id}"))
    );
    let html = look(&dev, "/local/inbox/1/html").await.body;
    let (_, link) = html.split_once("href=\"/local/inbox/1/click").unwrap();
    let click = format!("/local/inbox/1/click{}", link.split('"').next().unwrap());
    let clicked = look(&dev, &click).await;
    assert_eq!((clicked.status, clicked.location), (303, format!("{URL}/pages/checklist")));
    assert!(look(&dev, "/local/inbox").await.body.contains("class=\"badge clicked\""));
    assert!(html.contains(&format!("{URL}/unsubscribe?t=")), "untracked links lead where they say");
    assert!(look(&dev, "/local/inbox/1?view=text").await.body.contains("<pre"));
    assert!(look(&dev, "/local/inbox/1?view=headers").await.body.contains("List-Unsubscribe-Post"));
    let complaint = submit(&dev, "/local/inbox/1/complaint", "").await;
    assert!(look(&dev, &complaint.location).await.body.contains("迷惑メール報告"));
}

#[tokio::test]
async fn a_browser_that_moves_the_clock_comes_back_to_its_page() {
    let dev = dev().await;
    for (back, expected) in [
        ("/local/inbox?to=a%40example.com", "/local/inbox?to=a%40example.com"),
        ("/local", "/local"),
        ("//evil.example", "/local"),
        ("/localhost.evil.example", "/local"),
        ("/local/\\evil", "/local"),
        ("", "/local"),
    ] {
        let form = serde_urlencoded::to_string([("advance", "PT1H"), ("back", back)]).unwrap();
        let answer = submit(&dev, "/local/clock", &form).await;
        assert_eq!((answer.status, answer.location.as_str()), (303, expected), "{back}");
    }
    let wrong = submit(&dev, "/local/clock", "advance=soon").await;
    assert!(
        wrong.status == 422
            && wrong.content_type.starts_with("text/html")
            && wrong.body.contains("表示できませんでした")
    );
}

#[tokio::test]
async fn a_person_books_pays_and_is_counted() {
    let (dev, lead_id) = opted_in().await;
    let token = |purpose| dev.0.links.sign(purpose, &lead_id, None, dev.now());
    let slots = get(&dev, "/slots").await.json();
    let booking = json!({"t": token(Purpose::Book), "slot": slots["slots"][0]["slot"]});
    assert_eq!(post(&dev, "/bookings", booking).await.status, 200);
    let confirmation = get(&dev, "/local/mails?after=1").await.json();
    assert_eq!(confirmation[0]["attachments"][0]["file_name"], "consultation.ics");
    let calendar = look(&dev, "/local/inbox/2/attachments/0").await;
    assert!(
        calendar.body.starts_with("BEGIN:VCALENDAR") && calendar.content_type.starts_with("text/calendar"),
        "{}",
        calendar.body
    );

    let applied = submit(&dev, "/applications", &format!("t={}&plan=standard", token(Purpose::Apply))).await;
    let page = applied.location.strip_prefix(URL).unwrap();
    let checkout = look(&dev, page).await.body;
    assert!(
        checkout.contains("スタンダード")
            && checkout.contains("¥330,000")
            && checkout.contains("Stripeの決済画面の代わり")
    );
    let paid = submit(&dev, &format!("{page}/pay"), "").await;
    assert_eq!((paid.status, paid.location), (303, format!("{URL}/paid")));
    assert_eq!(
        send(&dev, Request::post(format!("{page}/pay")), "").await.status,
        200,
        "the notice may come again"
    );
    assert!(look(&dev, page).await.body.contains("お支払いは完了しています"));

    let rows = post(&dev, "/local/nightly", json!({"date": "2026-11-22"})).await.json();
    let day = &rows["kpi_daily"][0];
    assert_eq!(
        (&day["opt_ins"], &day["consultation_requests"], &day["sales"], &day["revenue"]),
        (&json!(1), &json!(1), &json!(1), &json!(330_000))
    );
    for path in ["/local/figures", &format!("/local/people/{lead_id}")] {
        let console = look(&dev, path).await;
        assert!(
            console.status == 303 && console.location.starts_with("/console"),
            "{path} {}",
            console.location
        );
        assert_eq!(look(&dev, &console.location).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_page_is_there_in_both_languages() {
    let (dev, _) = opted_in().await;
    for (lang, inbox) in [("ja", "受信箱"), ("en", "Inbox")] {
        for path in [
            "/local",
            "/local/",
            "/local/inbox",
            "/local/inbox/1",
            "/local/people",
            "/local/inbox?to=nobody@example.com",
        ] {
            let mark = if path.contains('?') { '&' } else { '?' };
            let answer = look(&dev, &format!("{path}{mark}lang={lang}")).await;
            assert!(
                answer.status == 200 && answer.body.contains(inbox) && answer.body.contains("+7"),
                "{path} {lang}: {}",
                answer.body
            );
            let again = send(
                &dev,
                Request::get(path)
                    .header(ACCEPT, "text/html")
                    .header(COOKIE, answer.cookie.split(';').next().unwrap()),
                "",
            )
            .await;
            assert!(again.body.contains(&format!("<html lang=\"{lang}\"")), "the choice is kept");
        }
    }
    let preferred =
        send(&dev, Request::get("/local").header("accept-language", "fr,en-GB;q=0.8,ja;q=0.5"), "").await;
    assert!(preferred.body.contains("<html lang=\"en\""));
    assert!(look(&dev, "/local").await.body.contains("<html lang=\"ja\""));
}

#[tokio::test]
async fn what_a_person_typed_never_becomes_markup() {
    let dev = dev().await;
    post(&dev, "/opt-in", json!({"email": "a@example.com", "name": "<i>&\"x", "consent": true})).await;
    for path in [
        "/local",
        "/local/people",
        "/local/inbox",
        "/local/inbox/1",
        "/local/inbox?to=%3Ci%3E",
        "/local/inbox/1/html",
    ] {
        let body = look(&dev, path).await.body;
        assert!(!body.contains("<i>"), "{path}: {body}");
    }
}

#[tokio::test]
async fn what_could_not_be_read_and_what_was_used_can_be_looked_at() {
    let (dev, _) = opted_in().await;
    let body = json!({"detail": {"eventType": "Party"}}).to_string();
    let batch = json!({"Records": [{"messageId": "1", "body": body}]});
    dev.cloud().invoke("email-event", batch).await.unwrap();
    let letters = get(&dev, "/local/dead-letters").await.json();
    assert_eq!(letters[0]["queue"], "michi-dead-letters");
    assert!(letters[0]["body"].is_object(), "{letters}");
    let meter = get(&dev, "/local/meter").await.json();
    assert!(meter["write_units"].as_f64().unwrap() > 0.0 && meter["calls"]["ses:SendEmail"] == 1, "{meter}");
    assert!(look(&dev, "/local").await.body.contains("class=\"bad\""));
}

#[tokio::test]
async fn the_clock_and_the_data_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let funnel = load_funnel(FUNNEL.as_ref()).unwrap();
    let mails = async |dev: &Dev| get(dev, "/local/mails").await.json().as_array().unwrap().clone();
    let (before, sent) = {
        let dev = Dev::start(Arc::clone(&funnel), directory.path(), URL).await.unwrap();
        post(&dev, "/opt-in", json!({"email": "hanako@example.com", "consent": true})).await;
        post(&dev, "/local/clock", json!({"advance": "P3D"})).await;
        (dev.now(), mails(&dev).await)
    };
    let dev = Dev::start(funnel, directory.path(), URL).await.unwrap();
    assert!(dev.now() >= before - TimeDelta::milliseconds(1), "{} {before}", dev.now());
    // This clock begins at the real hour, and how many mails three days bring depends on that.
    assert!(sent.len() > 2 && mails(&dev).await.starts_with(&sent), "{sent:?}");
}

#[test]
fn one_directory_has_one_michi() {
    let directory = tempfile::tempdir().unwrap();
    let held = lock_directory(directory.path()).unwrap();
    let refused = lock_directory(directory.path()).unwrap_err().to_string();
    assert!(refused.contains("--data"), "{refused}");
    drop(held);
    lock_directory(directory.path()).unwrap();
}
