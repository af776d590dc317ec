"""One person's way from the landing page to the paid programme, through the deployed stack.

The pages are used as a browser would: forms are read from the page and sent with all their fields.
"""

import base64
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
from conftest import WEBHOOK_SECRET
from outside import headers, tags, text

EMAIL, NAME = "hanako.yamada@example.jp", "山田 花子"
TOKYO = zoneinfo.ZoneInfo("Asia/Tokyo")


def test_a_person_goes_from_the_landing_page_to_the_paid_programme(cloud, outside, sender):
    day = datetime.datetime.now(TOKYO).date()
    lead = opt_in(cloud)
    welcome = outside.wait_for_mail("nurture/welcome")
    is_a_lawful_marketing_mail(welcome, sender)
    mail_events_reach_the_ledger(cloud, welcome)

    outside.wait_for_mail("nurture/day-1", 120)
    wait_for("the one open schedule of the enrolment", lambda: len(schedules(cloud)) == 1)
    consultation_link = link(outside.wait_for_mail("nurture/day-4", 120), "/booking")
    consultation = book(cloud, consultation_link)
    assert consultation["lead_id"] == lead["lead_id"]
    confirmation = outside.wait_for_mail("consultation/confirmation")
    assert "BEGIN:VCALENDAR" in calendar(confirmation)

    session = apply(cloud, outside, link(confirmation, "/apply"))
    pay(cloud, session)
    outside.wait_for_mail("onboarding/completed")
    [customer] = cloud.rows("Customers")
    assert (customer["lead_id"], customer["plan"], customer["price"]) == (lead["lead_id"], "standard", 330000)

    unsubscribe(cloud, welcome)
    the_day_is_counted(cloud, day)
    nothing_is_left_over(cloud)
    no_log_tells_who(cloud, link(confirmation, "/bookings"))


def opt_in(cloud):
    page = cloud.http("GET", "/")
    answer = submit(cloud, page, "/opt-in", email=EMAIL, name=NAME, consent="on")
    assert answer.status == 303, answer.text
    assert cloud.http("GET", answer.headers["Location"]).status == 200
    again = submit(cloud, page, "/opt-in", email=EMAIL.upper(), name=NAME, consent="on")
    assert again.status == 303, again.text
    [lead] = cloud.rows("Leads")
    assert lead["email"] == EMAIL
    return lead


def is_a_lawful_marketing_mail(mail, sender):
    assert f"<{sender}>" in mail["FromEmailAddress"] or mail["FromEmailAddress"] == sender
    assert mail["Destination"] == {"ToAddresses": [EMAIL]}
    assert mail["ConfigurationSetName"] == STACK
    assert headers(mail)["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert NAME in text(mail) and "住所" in text(mail)


def mail_events_reach_the_ledger(cloud, mail):
    for event in (
        ses_event(mail, "Email Sent", "Send", send={}),
        ses_event(mail, "Email Delivered", "Delivery", delivery={
            "timestamp": now(), "processingTimeMillis": 731, "recipients": [EMAIL],
            "smtpResponse": "250 2.0.0 OK", "reportingMTA": "a8-50.smtp-out.amazonses.com"}),
        ses_event(mail, "Email Opened", "Open", open={
            "timestamp": now(), "ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0", "isBotEvent": "Unlikely"}),
        ses_event(mail, "Email Clicked", "Click", click={
            "timestamp": now(), "ipAddress": "192.0.2.1", "userAgent": "Mozilla/5.0", "isBotEvent": "Unlikely",
            "link": link(mail, "/pages/checklist"), "linkTags": None}),
    ):
        cloud.invoke("email-event", event)
    [row] = [row for row in cloud.rows("EmailEngagement") if row["email_campaign_id"] == "nurture/welcome"]
    assert row["state"] == "sent" and row["delivered_at"] and row["opened"] and row["clicked"]
    assert not row["machine_opened"]


def schedules(cloud):
    return cloud.client("scheduler").list_schedules(GroupName=STACK)["Schedules"]


def book(cloud, booking_link):
    page = cloud.http("GET", booking_link)
    offered = fields(page, "/bookings")["slot"]
    answer = submit(cloud, page, "/bookings", slot=offered[0], note="値上げの伝え方を相談したいです。")
    assert answer.status == 303, answer.text
    assert cloud.http("GET", answer.headers["Location"]).status == 200
    taken = submit(cloud, page, "/bookings", slot=offered[0])
    assert taken.status in (303, 409), taken.text
    rows = [row for row in cloud.rows("Consultations") if "lead_id" in row and "scheduled_date" in row]
    assert len(rows) == 1
    return rows[0]


def calendar(mail):
    [attachment] = mail["Content"]["Simple"]["Attachments"]
    assert attachment["ContentType"].startswith("text/calendar")
    return base64.b64decode(attachment["RawContent"]).decode()


def apply(cloud, outside, apply_link):
    page = cloud.http("GET", apply_link)
    answer = submit(cloud, page, "/applications", plan="standard")
    assert answer.status == 303, answer.text
    session = outside.checkouts[-1]
    assert answer.headers["Location"] == session["url"]
    return session


def pay(cloud, session):
    form = session["form"]
    metadata = {key[9:-1]: value for key, value in form.items() if key.startswith("metadata[")}
    event = {
        "id": "evt_1", "object": "event", "api_version": "2026-10-28", "created": int(time.time()),
        "type": "checkout.session.completed", "livemode": False, "pending_webhooks": 1, "request": None,
        "data": {"object": {
            "id": session["id"], "object": "checkout.session", "mode": "payment", "status": "complete",
            "payment_status": "paid", "amount_total": 330000, "currency": "jpy", "created": int(time.time()),
            "client_reference_id": form.get("client_reference_id"), "metadata": metadata,
            "payment_intent": "pi_test_1"}},
    }
    body = json.dumps(event, indent=2).encode()
    forged = {"Stripe-Signature": f"t={int(time.time())},v1={'0' * 64}"}
    assert cloud.http("POST", "/webhooks/stripe", body=body, headers=forged).status == 400
    assert cloud.rows("Customers") == []
    for _ in range(2):  # Stripe delivers at least once
        assert cloud.http("POST", "/webhooks/stripe", body=body, headers=stripe_signature(body)).status == 200


def stripe_signature(body):
    at = int(time.time())
    mac = hmac.new(WEBHOOK_SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": f"t={at},v1={mac}"}


def unsubscribe(cloud, mail):
    """With one click, as a mail client does it (RFC 8058)."""
    url = re.search(r"<(https://[^>]+)>", headers(mail)["List-Unsubscribe"])[1]
    assert cloud.http("GET", url).status == 200
    assert not cloud.rows("Leads")[0].get("unsubscribed_at"), "reading the page must change nothing"
    assert cloud.http("POST", url, form={"List-Unsubscribe": "One-Click"}).status == 200
    assert [row for row in cloud.rows("Events") if row["kind"] == "unsubscribed"]


def the_day_is_counted(cloud, day):
    cloud.invoke("nightly-aggregation", {"date": day.isoformat()})
    cloud.invoke("nightly-aggregation", {"date": day.isoformat()})
    [row] = cloud.rows("KpiDaily")
    counted = {name: row[name] for name in (
        "date", "opt_ins", "consultation_requests", "sales", "revenue", "mails_opened", "mails_clicked", "unsubscribed")}
    assert counted == {"date": day.isoformat(), "opt_ins": 1, "consultation_requests": 1, "sales": 1,
                       "revenue": 330000, "mails_opened": 1, "mails_clicked": 1, "unsubscribed": 1}


def nothing_is_left_over(cloud):
    for queue in ("UrgentQueueUrl", "BulkQueueUrl"):
        wait_for(f"{queue} to run empty", lambda: cloud.waiting_messages(queue) == 0)
    for queue in ("UrgentDeadQueueUrl", "BulkDeadQueueUrl", "RelayDeadQueueUrl", "DeadLetterQueueUrl"):
        assert cloud.waiting_messages(queue) == 0, queue


def no_log_tells_who(cloud, signed_link):
    secrets = [EMAIL, NAME, signed_link.split("?", 1)[1]]
    logs = cloud.client("logs")
    lines = 0
    for name in FUNCTIONS:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{STACK}-{name}")
        for event in (event for page in pages for event in page["events"]):
            lines += 1
            assert not [secret for secret in secrets if secret.lower() in event["message"].lower()], name
            assert "not authorized to perform" not in event["message"], event["message"]
    assert lines, "the functions' logs were not read"


def link(mail, path):
    """The first link of a mail that leads to `path`."""
    found = re.search(rf"https://[^\s<>()\"]+?{path}[^\s<>()\"]*", text(mail))
    assert found, f"{tags(mail)} has no link to {path}"
    return found[0]


def ses_event(mail, detail_type, event_type, **part):
    """An event as SES puts it on the default bus."""
    subject = mail["Content"]["Simple"]["Subject"]["Data"]
    return {
        "version": "0", "id": str(uuid.uuid4()), "detail-type": detail_type, "source": "aws.ses", "account": ACCOUNT,
        "time": now(), "region": REGION, "resources": [f"arn:aws:ses:{REGION}:{ACCOUNT}:configuration-set/{STACK}"],
        "detail": {
            "eventType": event_type,
            "mail": {
                "timestamp": now(), "source": mail["FromEmailAddress"], "sendingAccountId": ACCOUNT,
                "messageId": mail["MessageId"], "destination": [EMAIL], "headersTruncated": False,
                "headers": [{"name": "Subject", "value": subject}],
                "commonHeaders": {"from": [mail["FromEmailAddress"]], "to": [EMAIL], "messageId": mail["MessageId"], "subject": subject},
                "tags": {"ses:configuration-set": [STACK], "ses:from-domain": ["example.com"]}
                        | {name: [value] for name, value in tags(mail).items()},
            },
            **part,
        },
    }


def now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def submit(cloud, page, action, **filled):
    """Sends the page's form for `action`: its own values, and what the person fills in."""
    offered = fields(page, action)
    unknown = set(filled) - set(offered)
    assert not unknown, f"the form has no {unknown}, but {sorted(offered)}"
    return cloud.http("POST", action, form={name: values[0] for name, values in offered.items() if values} | filled)


def fields(page, action):
    """The fields of the page's form for `action`: name to the values it offers."""
    assert page.status == 200, page.text
    reader = _Forms()
    reader.feed(page.text)
    found = [fields for target, fields in reader.forms if target.split("?")[0].endswith(action)]
    assert found, f"no form for {action}, but {[target for target, _ in reader.forms]}"
    return found[0]


class _Forms(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.forms = []
        self._select = None

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.forms.append((attributes.get("action", ""), {}))
        elif tag == "select":
            self._select = attributes["name"]
        elif tag == "option" and attributes.get("value"):
            self.forms[-1][1].setdefault(self._select, []).append(attributes["value"])
        elif tag in ("input", "textarea", "button") and "name" in attributes:
            values = self.forms[-1][1].setdefault(attributes["name"], [])
            # A box that is not ticked is not sent, but can be.
            if attributes.get("type") not in ("checkbox",) and attributes.get("value"):
                values.append(attributes["value"])
