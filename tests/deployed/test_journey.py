"""People's ways through the deployed stack: one from the landing page to the paid programme, one out again.

The pages are used as a browser would: forms are read from the page and sent with all their fields.
"""

import base64
import collections
import datetime
import hashlib
import hmac
import html.parser
import json
import re
import time
import uuid
import zoneinfo

from cloud import ACCOUNT, FUNCTIONS, REGION, STACK, wait_for
from conftest import ID_KEY, LINK_KEY, WEBHOOK_SECRET
from outside import headers, of_campaign, tags, text

EMAIL, NAME, NOTE = "hanako.yamada@example.jp", "山田 花子", "値上げの伝え方を相談したいです。"
OTHER_EMAIL, OTHER_NAME = "jiro.sato@example.jp", "佐藤 次郎"
TOKYO = zoneinfo.ZoneInfo("Asia/Tokyo")
MEMORY_LIMIT_MB = 30
PROGRAM = {"Accept": "application/json", "Content-Type": "application/json"}


def test_a_person_goes_from_the_landing_page_to_the_paid_programme(cloud, outside, sender, capsys):
    first_day = today()
    lead = opt_in(cloud)
    welcome = outside.wait_for_mail(EMAIL, "welcome/welcome")
    is_a_lawful_marketing_mail(welcome, sender)
    mail_events_reach_the_ledger(cloud, welcome)
    wait_for("the one timer of the enrolment", lambda: len(timers(cloud)) == 1)

    outside.wait_for_mail(EMAIL, "nurture/day-1", 180)
    invitation = outside.wait_for_mail(EMAIL, "nurture/day-4", 120)
    consultation = book(cloud, link(invitation, "/booking"))
    assert consultation["lead_id"] == lead["lead_id"]
    confirmation = outside.wait_for_mail(EMAIL, "consultation/confirmation")
    assert consultation["consultation_id"] in calendar(confirmation)
    takes_place(cloud, lead, consultation)

    session = apply(cloud, outside, link(outside.wait_for_mail(EMAIL, "follow-up/thanks"), "/apply"))
    pay(cloud, session)
    outside.wait_for_mail(EMAIL, "onboarding/completed")
    [customer] = cloud.rows("Customers")
    assert (customer["lead_id"], customer["plan"], customer["price"]) == (lead["lead_id"], "standard", 330000)
    wait_for("the one timer of the onboarding", lambda: len(timers(cloud)) == 1)

    unsubscribe(cloud, lead["lead_id"], welcome)
    her_mails = [mail for mail in outside.mails if mail["Destination"]["ToAddresses"] == [EMAIL]]
    the_days_are_counted(cloud, {first_day, today()}, len(her_mails))
    nothing_is_left_over(cloud)
    mails = [of_campaign(mail) for mail in outside.mails]
    assert len(mails) == len(set(mails)), f"a mail was sent twice: {mails}"
    no_log_tells_who(cloud, outside.mails, {EMAIL, NAME, NOTE})
    memory = peak_memory(cloud)
    with capsys.disabled():
        print("\npeak memory:", ", ".join(f"{name} {megabytes:.1f} MB" for name, megabytes in memory.items()))
    assert set(memory) == set(FUNCTIONS) and max(memory.values()) < MEMORY_LIMIT_MB, memory


def test_another_person_takes_everything_back(cloud, outside):
    others = timers(cloud)
    form_as_json = json.dumps({"email": OTHER_EMAIL, "consent": True}).encode()
    lead_id = json.loads(cloud.http("POST", "/opt-in", body=form_as_json, headers=PROGRAM).text)["lead_id"]
    welcome = outside.wait_for_mail(OTHER_EMAIL, "welcome/welcome")
    wait_for("the timer of the step mails", lambda: len(timers(cloud) - others) == 1)
    step_mails = timers(cloud) - others

    booking = cloud.http("GET", f"/booking?t={signed('book', lead_id)}")
    slot = form(booking, "/bookings").choices["slot"][-1]
    assert submit(cloud, booking, "/bookings", slot=slot, name=OTHER_NAME).status == 303
    confirmation = outside.wait_for_mail(OTHER_EMAIL, "consultation/confirmation")
    assert OTHER_NAME in text(confirmation)
    wait_for("the timer of the reminder", lambda: len(timers(cloud) - others - step_mails) == 1)
    manage = cloud.http("GET", link(confirmation, "/bookings"))
    cancelled = submit(cloud, manage, "/cancel")
    assert cancelled.status == 200, cancelled.text
    wait_for("the reminder's timer to go", lambda: timers(cloud) - others == step_mails)
    slots = json.loads(cloud.http("GET", "/slots", headers=PROGRAM).text)["slots"]
    assert slot in [free["slot"] for free in slots], "the slot is free again"

    unsubscribe(cloud, lead_id, welcome)
    wait_for("the step mails' timer to go", lambda: timers(cloud) == others)
    tell(cloud, ses_event(confirmation, "Email Bounced", "Bounce", bounce={
        "bounceType": "Permanent", "bounceSubType": "General", "timestamp": now(), "feedbackId": "1",
        "bouncedRecipients": [{"emailAddress": OTHER_EMAIL, "action": "failed", "status": "5.1.1"}]}))
    assert lead_row(cloud, lead_id)["mailing"] == "suppressed"
    nothing_is_left_over(cloud)
    no_log_tells_who(cloud, outside.mails, {OTHER_EMAIL, OTHER_NAME})


def test_what_cannot_be_read_is_put_aside_with_its_reason(cloud, outside):
    [sent, *_] = outside.mails
    untagged = ses_event(sent, "Email Opened", "Open", open={"timestamp": now(), "userAgent": "Mozilla/5.0 (iPhone)"})
    untagged["detail"]["mail"]["tags"].pop("lead_id")
    tell(cloud, untagged)
    event = {"id": "evt_2", "type": "checkout.session.completed", "data": {"object": {"id": "cs_2"}}}
    paid = json.dumps(event).encode()
    assert cloud.http("POST", "/webhooks/stripe", body=paid, headers=stripe_signature(paid)).status == 202
    cloud.client("sqs").send_message(QueueUrl=cloud.outputs["UrgentQueueUrl"], MessageBody='{"step":"day-1"}')
    wait_for("three dead letters", lambda: cloud.waiting_messages("DeadLetterQueueUrl") == 3)
    letters = [json.loads(body) for body in cloud.take_messages("DeadLetterQueueUrl")]
    assert sorted(letter["function"] for letter in letters) == ["delivery", "email-event", "payment"]
    assert all(letter["reason"] and letter["event"] for letter in letters), letters
    assert EMAIL not in json.dumps(letters)
    nothing_is_left_over(cloud)


def opt_in(cloud):
    page = cloud.http("GET", "/?utm_source=instagram")
    for consent, status in ((None, 422), ("true", 303), ("true", 303)):
        answer = submit(cloud, page, "/opt-in", email=EMAIL, name=NAME, consent=consent)
        assert answer.status == status, answer.text
    assert cloud.http("GET", answer.headers["Location"]).status == 200
    again = submit(cloud, page, "/opt-in", email=EMAIL.upper(), name=NAME, consent="true")
    assert again.status == 303, again.text
    [lead] = cloud.rows("Leads")
    assert (lead["email"], lead["utm"]) == (EMAIL, {"utm_source": "instagram"})
    return lead


def is_a_lawful_marketing_mail(mail, sender):
    assert mail["FromEmailAddress"].endswith(f"<{sender}>")
    assert mail["Destination"] == {"ToAddresses": [EMAIL]}
    assert mail["ConfigurationSetName"] == STACK
    assert headers(mail)["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert NAME in text(mail) and "東京都千代田区" in text(mail)


def mail_events_reach_the_ledger(cloud, mail):
    reader = {
        "timestamp": now(), "ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0 (iPhone)", "isBotEvent": "Unlikely"}
    for event in (
        ses_event(mail, "Email Sent", "Send", send={}),
        ses_event(mail, "Email Delivered", "Delivery", delivery={
            "timestamp": now(), "processingTimeMillis": 731, "recipients": [EMAIL],
            "smtpResponse": "250 2.0.0 OK", "reportingMTA": "a8-50.smtp-out.amazonses.com"}),
        ses_event(mail, "Email Opened", "Open", open=reader),
        ses_event(mail, "Email Clicked", "Click", click=reader | {
            "link": link(mail, "/pages/checklist"), "linkTags": None}),
        ses_event(mail, "Email Opened", "Open", open=reader),
    ):
        tell(cloud, event)
        # Opens and clicks come a minute later once more, to be judged.
        if event["detail"]["eventType"] in ("Open", "Click"):
            tell(cloud, event, queue="verdicts")
    [row] = [row for row in cloud.rows("EmailEngagement") if row["email_campaign_id"] == "welcome/welcome"]
    assert row["state"] == "sent" and row["delivered_at"] and row["opened"] and row["clicked"]
    assert not row["machine_opened"]


def timers(cloud):
    schedules = cloud.client("scheduler").list_schedules(GroupName=STACK)["Schedules"]
    return {schedule["Name"] for schedule in schedules}


def lead_row(cloud, lead_id):
    [row] = [row for row in cloud.rows("Leads") if row["lead_id"] == lead_id]
    return row


def book(cloud, booking_link):
    page = cloud.http("GET", booking_link)
    # The very next minute may be over before the form arrives.
    slot = form(page, "/bookings").choices["slot"][1]
    answer = submit(cloud, page, "/bookings", slot=slot, note=NOTE)
    assert answer.status == 303, answer.text
    assert cloud.http("GET", answer.headers["Location"]).status == 200
    again = submit(cloud, page, "/bookings", slot=slot, note=NOTE)
    assert (again.status, address(again)) == (303, address(answer)), "the same form again is the same booking"
    [booked] = [row for row in cloud.rows("Consultations") if "lead_id" in row]
    return booked


def calendar(mail):
    [attachment] = mail["Content"]["Simple"]["Attachments"]
    assert attachment["ContentType"].startswith("text/calendar")
    file = base64.b64decode(attachment["RawContent"]).decode()
    assert file.startswith("BEGIN:VCALENDAR\r\n") and "METHOD:REQUEST" in file, file
    return file


def takes_place(cloud, lead, consultation):
    """What came of it is told on the console, which needs a link and keeps it as a cookie."""
    assert cloud.http("GET", f"/console/leads/{lead['lead_id']}").status == 403
    entered = cloud.http("GET", f"/console?t={signed('console', 'operator')}")
    assert entered.status == 200, entered.text
    cookie = {"Cookie": entered.headers["Set-Cookie"].split(";")[0]}
    start = datetime.datetime.fromisoformat(consultation["scheduled_date"])
    time.sleep(max(0, (start - datetime.datetime.now(datetime.UTC)).total_seconds()) + 1)
    found = cloud.http("POST", "/console/find", form={"lead": EMAIL}, headers=cookie)
    assert found.status == 303, found.text
    page = cloud.http("GET", found.headers["Location"], headers=cookie)
    assert NAME in page.text and NOTE in page.text
    path = f"/console/consultations/{consultation['consultation_id']}/outcome"
    answer = cloud.http("POST", path, form={"outcome": "won"}, headers=cookie)
    assert answer.status == 303, answer.text


def apply(cloud, outside, apply_link):
    page = cloud.http("GET", apply_link)
    answer = submit(cloud, page, "/applications", plan="standard")
    assert answer.status == 303, answer.text
    [session] = outside.checkouts
    assert answer.headers["Location"] == session["url"]
    assert session["form"]["line_items[0][price_data][unit_amount]"] == "330000"
    return session


def pay(cloud, session):
    fields = session["form"]
    event = {
        "id": "evt_1", "object": "event", "api_version": "2025-03-31.basil", "created": int(time.time()),
        "type": "checkout.session.completed", "livemode": False, "pending_webhooks": 1, "request": None,
        "data": {"object": {
            "id": session["id"], "object": "checkout.session", "mode": "payment", "status": "complete",
            "payment_status": "paid", "amount_total": 330000, "currency": "jpy", "created": int(time.time()),
            "client_reference_id": fields["client_reference_id"], "payment_intent": "pi_test_1",
            "metadata": {key[9:-1]: value for key, value in fields.items() if key.startswith("metadata[")},
        }},
    }
    body = json.dumps(event, indent=2).encode()
    for wrong in ({}, stripe_signature(body, "whsec_other"), stripe_signature(body, age=3600)):
        assert cloud.http("POST", "/webhooks/stripe", body=body, headers=wrong).status == 400
    assert cloud.rows("Customers") == []
    for _ in range(2):  # Stripe delivers at least once
        assert cloud.http("POST", "/webhooks/stripe", body=body, headers=stripe_signature(body)).status == 200


def stripe_signature(body, secret=WEBHOOK_SECRET, age=0):
    at = int(time.time()) - age
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Accept": "*/*", "Content-Type": "application/json; charset=utf-8", "Stripe-Signature": f"t={at},v1={mac}"}


def unsubscribe(cloud, lead_id, mail):
    """With one click, as a mail client does it (RFC 8058)."""
    url = re.search(r"<(https://[^>]+)>", headers(mail)["List-Unsubscribe"])[1]
    assert cloud.http("GET", url).status == 200
    assert lead_row(cloud, lead_id)["mailing"] == "subscribed", "reading the page must change nothing"
    for _ in range(2):
        answer = cloud.http("POST", url, form={"List-Unsubscribe": "One-Click"}, headers={"Accept": "*/*"})
        assert answer.status == 200, answer.text
    assert lead_row(cloud, lead_id)["mailing"] == "unsubscribed"


def the_days_are_counted(cloud, days, mails_sent):
    for day in [*days, *days]:
        cloud.invoke("nightly-aggregation", {"date": day.isoformat()})
    rows = cloud.rows("KpiDaily")
    assert {row["date"] for row in rows} == {day.isoformat() for day in days}
    counted = collections.Counter()
    for row in rows:
        counted.update({name: int(value) for name, value in row.items() if name not in ("month", "date")})
    assert +counted == {
        "opt_ins": 1, "mails_sent": mails_sent, "mails_delivered": 1, "mails_opened": 1, "mails_clicked": 1,
        "consultation_requests": 1, "consultations_held": 1, "applications": 1, "sales": 1, "revenue": 330000,
        "unsubscribed": 1}


def nothing_is_left_over(cloud):
    for queue in ("UrgentQueueUrl", "BulkQueueUrl"):
        wait_for(f"{queue} to run empty", lambda: cloud.waiting_messages(queue) == 0)
    for queue in ("UrgentDeadQueueUrl", "BulkDeadQueueUrl", "RelayDeadQueueUrl", "DeadLetterQueueUrl"):
        assert cloud.waiting_messages(queue) == 0, queue


def no_log_tells_who(cloud, mails, personal):
    tokens = {token for mail in mails for token in re.findall(r"[?&]t=([\w.-]+)", text(mail))}
    assert len(tokens) >= 4, "one each to unsubscribe, to book, to manage the booking and to apply"
    secrets = personal | tokens | {ID_KEY, LINK_KEY, WEBHOOK_SECRET, "sk_test_1"}
    logs = cloud.client("logs")
    lines = 0
    for name in FUNCTIONS:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{STACK}-{name}")
        for event in (event for page in pages for event in page["events"]):
            lines += 1
            told = [secret for secret in secrets if secret.lower() in event["message"].lower()]
            assert not told, f"{name} logged {told}"
            assert '"level":"ERROR"' not in event["message"], f"{name}: {event['message']}"
    assert lines, "the functions' logs were not read"


def peak_memory(cloud):
    """The most memory that each function ever used, in MB."""
    peaks = collections.defaultdict(float)
    for name, status in cloud.function_processes():
        kilobytes = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
        peaks[name] = max(peaks[name], kilobytes / 1024)
    return dict(sorted(peaks.items()))


def link(mail, path):
    """The first link of a mail that leads to `path`."""
    found = re.search(rf"https://[^\s<>()\"]+?{path}[^\s<>()\"]*", text(mail))
    assert found, f"{of_campaign(mail)} has no link to {path}"
    return found[0]


def signed(purpose, subject):
    """A token as `michi` makes it for operators."""
    expiry = int(time.time()) + 3600
    key = hmac.digest(bytes.fromhex(LINK_KEY), purpose.encode(), "sha256")
    mac = hmac.digest(key, f"{subject}.{expiry}".encode(), "sha256")
    return f"k1.{subject}.{expiry}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def tell(cloud, event, queue="mail-events"):
    """Hands over an event of SES's as its queue does, and makes sure that it was taken."""
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{STACK}-{queue}"
    record = {"messageId": "1", "body": json.dumps(event), "eventSourceARN": arn}
    assert cloud.invoke("email-event", {"Records": [record]}) == {"batchItemFailures": []}


def ses_event(mail, detail_type, event_type, **part):
    """An event as SES puts it on the default bus."""
    subject, to = mail["Content"]["Simple"]["Subject"]["Data"], mail["Destination"]["ToAddresses"]
    return {
        "version": "0", "id": str(uuid.uuid4()), "detail-type": detail_type, "source": "aws.ses", "account": ACCOUNT,
        "time": now(), "region": REGION, "resources": [f"arn:aws:ses:{REGION}:{ACCOUNT}:configuration-set/{STACK}"],
        "detail": {
            "eventType": event_type,
            "mail": {
                "timestamp": now(), "source": mail["FromEmailAddress"], "sendingAccountId": ACCOUNT,
                "messageId": mail["MessageId"], "destination": to, "headersTruncated": False,
                "headers": [{"name": "Subject", "value": subject}],
                "commonHeaders": {
                    "from": [mail["FromEmailAddress"]], "to": to, "messageId": mail["MessageId"], "subject": subject},
                "tags": {"ses:configuration-set": [STACK], "ses:from-domain": ["example.com"]}
                        | {name: [value] for name, value in tags(mail).items()},
            },
            **part,
        },
    }


def now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def today():
    return datetime.datetime.now(TOKYO).date()


def address(answer):
    """Where an answer leads to, without the token."""
    return answer.headers["Location"].split("?")[0]


def submit(cloud, page, action, **filled):
    """Sends the page's form for `action`: its own values, and what the person fills in or ticks."""
    offered = form(page, action)
    filled = {name: value for name, value in filled.items() if value is not None}
    for name, value in filled.items():
        assert name in offered.values or value in offered.choices.get(name, []), f"no {name} = {value} in the form"
    return cloud.http("POST", offered.action, form=offered.values | filled)


def form(page, action):
    """The page's form for `action`."""
    assert page.status == 200, page.text
    reader = _Forms()
    reader.feed(page.text)
    found = [form for form in reader.forms if form.action.split("?")[0].endswith(action)]
    assert found, f"no form for {action}, but {[form.action for form in reader.forms]}"
    return found[0]


# `values` are sent as they stand; of `choices` (boxes and buttons) only what is ticked.
Form = collections.namedtuple("Form", "action values choices")


class _Forms(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.forms = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.forms.append(Form(attributes["action"], {}, {}))
        elif tag in ("input", "textarea") and "name" in attributes:
            name, value = attributes["name"], attributes.get("value") or ""
            if attributes.get("type") in ("radio", "checkbox"):
                self.forms[-1].choices.setdefault(name, []).append(value)
            else:
                self.forms[-1].values[name] = value
