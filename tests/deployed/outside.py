"""The two parties outside the stack that the functions call, on one loopback port.

SES: takes SendEmail as the SDK sends it and keeps the whole request. ministack has an SES of its own,
but drops headers, tags and attachments, and knows neither the identity nor the From address that the
delivery role names. Stripe: makes checkout sessions.
"""

import http.server
import json
import threading
import time
import urllib.parse


class Outside:
    """`mails` are SendEmail requests with their `MessageId`, `checkouts` are checkout sessions."""

    def __init__(self):
        self.mails, self.checkouts = [], []
        self._changed = threading.Condition()
        handler = type("Handler", (_Handler,), {"outside": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def wait_for_mail(self, to, campaign, seconds=60):
        """The mail of `campaign` (sequence/step, as in its tags) to a person, waited for."""
        fits = lambda mail: mail["Destination"]["ToAddresses"] == [to] and of_campaign(mail) == campaign
        wanted = lambda: next(filter(fits, self.mails), None)
        with self._changed:
            if not self._changed.wait_for(wanted, seconds):
                raise AssertionError(f"no mail {campaign} in {seconds} s, but {[of_campaign(m) for m in self.mails]}")
            return wanted()

    def send_email(self, request):
        with self._changed:
            request["MessageId"] = f"0106{len(self.mails):012x}-{time.time_ns():x}-000000"
            self.mails.append(request)
            self._changed.notify_all()
        return {"MessageId": request["MessageId"]}

    def checkout_session(self, form):
        with self._changed:
            session = {
                "id": f"cs_test_{len(self.checkouts) + 1}",
                "object": "checkout.session",
                "url": f"https://checkout.stripe.com/c/pay/cs_test_{len(self.checkouts) + 1}",
                "form": form,
            }
            self.checkouts.append(session)
        return {key: session[key] for key in ("id", "object", "url")}


class _Handler(http.server.BaseHTTPRequestHandler):
    outside: Outside

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v2/email/outbound-emails":
            self._answer(self.outside.send_email(json.loads(body)))
        elif self.path == "/v1/checkout/sessions":
            self._answer(self.outside.checkout_session(dict(urllib.parse.parse_qsl(body.decode()))))
        else:
            self.send_error(404)

    def _answer(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def tags(mail):
    return {tag["Name"]: tag["Value"] for tag in mail.get("EmailTags", [])}


def of_campaign(mail):
    return f"{tags(mail)['sequence']}/{tags(mail)['step']}"


def headers(mail):
    return {header["Name"]: header["Value"] for header in mail["Content"]["Simple"].get("Headers", [])}


def text(mail):
    return mail["Content"]["Simple"]["Body"]["Text"]["Data"]
