//! Why things are as they are, in the operator's language.
//!
//! The tables keep their reasons in one language. The texts hold the same sentences with places to
//! be filled (`{step} settled`), each beside its translation.

use domain::{id::Id, machine::Evidence};

use crate::{names::Names, words::Words};

/// Translates what the tables say.
#[derive(Debug)]
pub(crate) struct Reasons {
    words: Words,
    names: Names,
}

impl Reasons {
    pub(crate) fn new(words: Words, names: Names) -> Self {
        Self { words, names }
    }

    /// Why something was done or left; as it is stored where there are no words for it.
    pub(crate) fn why(&self, stored: &str) -> String {
        self.told("reasons", stored)
    }

    /// What gave or took points.
    pub(crate) fn points(&self, stored: &str) -> String {
        self.told("points", stored)
    }

    /// A piece of evidence for or against a machine.
    pub(crate) fn evidence(&self, stored: &str) -> String {
        let Ok(evidence) = Evidence::try_from(stored.to_owned()) else { return stored.to_owned() };
        let text = self.words.get("evidence").and_then(|words| words.get(evidence.kind()));
        let text = text.map_or(stored, String::as_str);
        text.replace("{name}", evidence.name().unwrap_or_default())
    }

    fn told(&self, section: &str, stored: &str) -> String {
        let word = |section: &str| self.words.get(section).and_then(|words| words.get(stored)).cloned();
        let forms = || {
            self.words.get(section)?.iter().find_map(|(form, text)| self.filled(text, read(form, stored)?))
        };
        word(section).or_else(|| word("moments")).or_else(forms).unwrap_or_else(|| stored.to_owned())
    }

    fn filled(&self, text: &str, values: Vec<(&str, &str)>) -> Option<String> {
        values.into_iter().try_fold(text.to_owned(), |text, (place, value)| {
            Some(text.replace(&format!("{{{place}}}"), &self.value(place, value)?))
        })
    }

    /// What belongs into a place; none if the value can't be what the place is for.
    fn value(&self, place: &str, value: &str) -> Option<String> {
        let names = match place {
            "why" => return Some(self.why(value)),
            "step" | "mail" => return Id::parse(value).ok().map(|id| id.to_string()),
            "sequence" => &self.names.sequences,
            "fact" => &self.names.facts,
            "magnet" => &self.names.magnets,
            "page" => &self.names.pages,
            "stage" => self.words.get("stage")?,
            _ => return Some(value.to_owned()),
        };
        let id = Id::parse(value).ok()?;
        Some(names.get(id.as_str()).cloned().unwrap_or_else(|| id.to_string()))
    }
}

/// What stands in the places of a form, if the text has this form.
fn read<'a>(form: &'a str, text: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut parts = form.split('{');
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut parts = parts.peekable();
    let mut values = vec![];
    while let Some(part) = parts.next() {
        let (place, after) = part.split_once('}')?;
        let (value, left) = match parts.peek() {
            Some(_) => rest.split_once(after)?,
            None => (rest.strip_suffix(after)?, ""),
        };
        values.push((place, value));
        rest = left;
    }
    (rest.is_empty() && values.iter().all(|(_, value)| !value.is_empty())).then_some(values)
}

#[cfg(test)]
mod tests {
    use content::Locale;

    use super::*;
    use crate::{view::tests::funnel, words::words};

    fn reasons(locale: Locale) -> Reasons {
        Reasons::new(words(locale), Names::of(&funnel(locale)))
    }

    #[test]
    fn a_text_is_read_by_its_form() {
        for (form, text, expected) in [
            ("enrolled", "enrolled", Some(vec![])),
            ("enrolled", "enrolled twice", None),
            ("{step} settled", "day-1 settled", Some(vec![("step", "day-1")])),
            ("{step} settled", " settled", None),
            ("{step} settled", "day-1 settled: late", None),
            ("entered {sequence}", "entered cart", Some(vec![("sequence", "cart")])),
            ("{test} is true", "\"a is true\" is true", Some(vec![("test", "\"a is true\"")])),
            (
                "{step} not sent: {why}",
                "day-1 not sent: held: why",
                Some(vec![("step", "day-1"), ("why", "held: why")]),
            ),
        ] {
            assert_eq!(read(form, text), expected, "{form} {text}");
        }
    }

    #[test]
    fn every_reason_that_the_functions_store_has_words() {
        let stored = [
            // domain
            ("enrolled", "登録"),
            ("being watched", "条件に当てはまるかを定期的に確認中"),
            (
                "day-1 settled; the time of day-2, day-3 had passed when enrolled",
                "day-1 処理済み（day-2, day-3 は登録時点で予定時刻を過ぎていたため省略）",
            ),
            ("what it announces has already begun", "案内する予定がすでに始まっていたため"),
            ("the person is pending", "メールアドレスの確認待ちのため"),
            ("the person is unsubscribed", "配信停止中のため"),
            ("the person is suppressed", "送信できないアドレスのため"),
            ("the person wants no marketing mail", "ご案内メールを希望していないため"),
            ("the person does not want this topic", "このテーマのメールを希望していないため"),
            ("outside the hours in which mail goes out", "配信できる時間帯になるまで待機"),
            (
                "its hours and the quiet hours leave no time to send",
                "配信時間帯と配信しない時間帯の設定により、送信できる時間がないため",
            ),
            ("the person asked for a pause", "ご本人の希望により一時停止中"),
            ("the cap leaves no mail to send", "配信数の上限が0通のため"),
            ("the person has had enough mail lately", "配信数の上限に達しているため待機"),
            ("not in the segment", "セグメントの対象外"),
            // relay
            ("customer_paid", "入金"),
            ("entered nurture", "「七日間の<メール>」に入ったため"),
            ("tag(\"vip\") came true", "条件を満たした: tag(\"vip\")"),
            // delivery
            ("day-1 settled", "day-1 処理済み"),
            (
                "day-1 settled: what it announces has already begun",
                "day-1 処理済み: 案内する予定がすでに始まっていたため",
            ),
            ("day-1 done", "day-1 実行済み"),
            ("day-1 not sent: the person is unsubscribed", "day-1 送信見送り: 配信停止中のため"),
            (
                "day-1 not sent: the funnel has no mail day-1 any more",
                "day-1 送信見送り: メール day-1 がなくなったため",
            ),
            ("score >= 50: yes", "条件に該当: score >= 50"),
            ("score >= 50: no", "条件に該当せず: score >= 50"),
            ("score >= 50 is true", "条件を満たしている: score >= 50"),
            ("score >= 50 is waited for", "条件を満たすまで待機: score >= 50"),
            ("score >= 50 did not come true in time", "期限までに条件を満たさなかった: score >= 50"),
            ("drawn by lot: offer-a", "振り分け: offer-a"),
            ("offer has nowhere to lead", "offer の振り分け先がないため"),
            ("nurture has priority", "「七日間の<メール>」を優先"),
            ("the broadcast is paused", "一斉配信が一時停止中のため"),
            ("what ends the sequence has happened", "終了の条件を満たしたため"),
            (
                "held: mails/day-1.md:3: `{{ x }}`: no",
                "メールを作成できず保留: mails/day-1.md:3: `{{ x }}`: no",
            ),
            ("given up: the other system answered 500", "外部システムへの通知を断念: 応答 500"),
            (
                "given up: the other system could not be reached: no answer in time",
                "外部システムへの通知を断念: 接続できず（no answer in time）",
            ),
            ("nobody of the team is called so", "宛先のチームメンバーがいないため"),
            ("the funnel has no such sequence any more", "このシーケンスがなくなったため"),
            ("the sequence has no such step any more", "このステップがなくなったため"),
            ("nothing has to be watched any more", "確認する条件がなくなったため"),
            ("the person is not known any more", "リードが登録されていないため"),
            ("the consultation is not known any more", "個別相談の予約が見つからないため"),
            ("the consultation no longer stands", "個別相談の予約がなくなったため"),
            ("the consultation was moved", "個別相談の日時が変わったため"),
            ("its sender stopped before it heard from SES", "送信結果を受け取る前に処理が止まったため"),
            // email-event
            ("called spam by its reader", "受信者が迷惑メールとして報告"),
            ("bounced: Permanent / General", "不達（Permanent / General）"),
            ("SES rejected it: Bad content", "SESが拒否: Bad content"),
            ("SES could not render it: x", "SESで生成できず: x"),
            // and what nobody knows
            ("MessageRejected", "MessageRejected"),
            ("two words settled", "two words settled"),
        ];
        let (ja, en) = (reasons(Locale::Ja), reasons(Locale::En));
        for (stored, expected) in stored {
            assert_eq!(ja.why(stored), expected);
            assert!(!en.why(stored).contains(['{', '}']) || stored.contains('{'), "{stored}");
        }
    }

    #[test]
    fn points_are_explained_by_the_funnels_own_names() {
        let reasons = reasons(Locale::Ja);
        for (stored, expected) in [
            ("mail_opened", "開封"),
            ("fact ordered", "注文した"),
            ("download checklist", "資料請求: お客様が自然に決まる「成約の道すじ」チェックリスト21"),
            ("page nowhere", "ページ閲覧: nowhere"),
            ("tag vip", "タグ付与: vip"),
            ("stage mql", "ステージ到達: 有望リード（MQL）"),
            ("60 days of silence", "60日間反応なし"),
            ("attribute.employees >= 100", "attribute.employees >= 100"),
        ] {
            assert_eq!(reasons.points(stored), expected);
        }
    }
}
