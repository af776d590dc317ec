"""One person's whole way in a real browser, as a newcomer would try it."""

import re

from playwright.sync_api import expect


def advance(page, button):
    page.locator("form.clock").get_by_role("button", name=button).click()


def open_mail(page, michi, to, subject):
    page.goto(f"{michi}/local/inbox?to={to}")
    page.get_by_role("link").filter(has_text=subject).first.click()
    return page.frame_locator("iframe")


def subjects(page, michi, to):
    page.goto(f"{michi}/local/inbox?to={to}")
    return page.locator(".mails .what b").all_inner_texts()


def fits(page):
    """Nothing sticks out sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page.url


def test_a_person_opts_in_reads_books_comes_and_pays(page, michi):
    to = f"hanako{page.viewport_size['width']}@example.com"
    page.goto(michi)
    fits(page)
    page.get_by_label(re.compile("メールアドレス")).fill(to)
    page.get_by_label(re.compile("お名前")).fill("山田花子")
    page.locator("input[name=consent]").check()
    page.get_by_role("button", name="無料で受け取る").click()
    expect(page).to_have_url(f"{michi}/thanks")
    fits(page)

    mail = open_mail(page, michi, to, "チェックリスト21")
    expect(mail.get_by_text("山田花子").first).to_be_visible()
    mail.get_by_role("link", name=re.compile("チェックリスト")).first.click()
    expect(page).to_have_url(re.compile("/pages/checklist"))
    fits(page)
    page.goto(f"{michi}/local/inbox?to={to}")
    expect(page.locator(".mails li").first.locator(".badge.clicked")).to_be_visible()

    assert len(subjects(page, michi, to)) == 1
    advance(page, "+1日")
    assert len(subjects(page, michi, to)) == 2
    advance(page, "+7日")
    assert len(subjects(page, michi, to)) == 8, "the welcome mail and seven days"

    mail = open_mail(page, michi, to, "個別相談について")
    mail.locator("a[href*='booking']").first.click()
    expect(page).to_have_url(re.compile("/booking"))
    fits(page)
    page.locator("input[name=slot]").first.check(force=True)
    page.get_by_label(re.compile("相談")).last.fill("集客から成約までの流れを相談したいです。")
    page.locator("form button[type=submit]").click()
    expect(page).to_have_url(re.compile(r"/bookings/c-"))
    fits(page)
    mail = open_mail(page, michi, to, "ご予約確認")
    expect(page.get_by_text("consultation.ics")).to_be_visible()
    page.goto(f"{michi}/local/inbox?to={to}")
    advance(page, "+7日")
    assert len([subject for subject in subjects(page, michi, to) if "明日です" in subject or "まもなく" in subject]) == 2

    page.goto(f"{michi}/local/people")
    page.get_by_role("link").filter(has_text=to).first.click()
    expect(page.get_by_text(to).first).to_be_visible()
    fits(page)
    page.get_by_role("button", name=re.compile("成約")).first.click()
    expect(page.get_by_role("button", name=re.compile("成約"))).to_have_count(0)

    mail = open_mail(page, michi, to, "ご参加、ありがとうございました")
    mail.locator("a[href*='apply']").first.click()
    expect(page).to_have_url(re.compile("/apply"))
    fits(page)
    page.locator("input[name=plan][value=premium]").check(force=True)
    page.locator("form button[type=submit]").click()
    expect(page).to_have_url(re.compile("/local/checkout/cs_test_"))
    expect(page.get_by_text("¥880,000").first).to_be_visible()
    fits(page)
    page.get_by_role("button", name=re.compile("支払う")).click()
    expect(page).to_have_url(f"{michi}/paid")
    assert any("プレミアム" in subject for subject in subjects(page, michi, to))

    page.goto(f"{michi}/local/figures")
    expect(page.get_by_text("¥880,000").first).to_be_visible()


def test_a_person_who_leaves_hears_no_more(page, michi):
    to = f"taro{page.viewport_size['width']}@example.com"
    page.goto(michi)
    page.get_by_label(re.compile("メールアドレス")).fill(to)
    page.locator("input[name=consent]").check()
    page.get_by_role("button", name="無料で受け取る").click()
    mail = open_mail(page, michi, to, "チェックリスト21")
    mail.get_by_role("link", name="配信を停止する").click()
    expect(page).to_have_url(re.compile("/unsubscribe"))
    fits(page)
    page.get_by_role("button").first.click()
    expect(page.get_by_role("heading").first).to_be_visible()
    page.goto(f"{michi}/local/inbox?to={to}")
    advance(page, "+1日")
    assert len(subjects(page, michi, to)) == 1


def test_a_slip_in_the_form_is_told_beside_the_field(page, michi):
    page.goto(michi)
    page.locator("input[name=email]").evaluate("field => field.type = 'text'")
    page.get_by_label(re.compile("メールアドレス")).fill("hanako@")
    page.locator("input[name=consent]").check()
    page.get_by_role("button", name="無料で受け取る").click()
    expect(page.locator("[aria-invalid=true]")).to_have_value("hanako@")
    fits(page)
