use super::*;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn names() -> Names {
    let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect();
    let attribute = |name: &str, kind| Attribute { id: id(name), name: name.into(), kind, ask: true };
    let texts = [("day-1", "[{{ public_url }}/pages/cases]"), ("day-4", "[空いている日]({{ booking_url }})")];
    let given = Given {
        mails: ["day-1".to_owned(), "day-4".to_owned()].into(),
        tags: ["vip".to_owned()].into(),
        attributes: BTreeSet::new(),
    };
    Names {
        mails: ids(&["day-1", "day-4", "draft"]),
        pages: ids(&["pricing"]),
        sequences: ids(&["follow-up"]),
        attributes: vec![
            attribute("company", AttributeKind::Text),
            attribute("employees", AttributeKind::Number),
            attribute("industry", AttributeKind::Choice(vec!["IT".into(), "金融".into()])),
        ],
        facts: ids(&["ordered"]),
        lead_magnets: ids(&["checklist"]),
        sources: ["instagram".to_owned()].into(),
        bands: [(id("warm"), (25, Some(50))), (id("hot"), (50, None))].into(),
        segments: [(id("fans"), Condition::Tag("vip".into()))].into(),
        given: Some(given),
        mail_texts: texts.map(|(mail, text)| (id(mail), text.to_owned())).into(),
        ..Names::default()
    }
}

fn problems_of(text: &str, in_step: bool) -> (Option<Test>, Vec<String>) {
    let source = Source { file: "x".into(), text: text.into() };
    let mut problems = vec![];
    let place = Place { source: &source, line: 1, column: 1 };
    let test = parse(text, place, &names(), in_step, &mut problems);
    (test, problems.iter().map(|problem| problem.to_string().replace("\n  mend:", " |")).collect())
}

#[test]
fn conditions_say_what_they_seem_to_say() {
    use Condition as C;
    let tag = || C::Tag("vip".into());
    let score = |points| C::Score(Compare::AtLeast, points);
    let attribute = |name: &str, compare, value| C::Attribute { name: name.into(), compare, value };
    for (text, expected) in [
        ("tag('vip')", tag()),
        (" ( tag(\"vip\") ) ", tag()),
        ("not tag(\"vip\") and score >= 5", C::All(vec![C::Not(Box::new(tag())), score(5)])),
        (
            "tag(\"vip\") or score >= 1 and score >= 2 or score >= 3",
            C::Any(vec![tag(), C::All(vec![score(1), score(2)]), score(3)]),
        ),
        ("not (tag(\"vip\") or score >= 1)", C::Not(Box::new(C::Any(vec![tag(), score(1)])))),
        ("score >=\n 50", score(50)),
        ("stage<\"customer\"", C::Stage(Compare::Less, Stage::Customer)),
        ("band == \"warm\"", C::All(vec![score(25), C::Score(Compare::Less, 50)])),
        ("band != \"hot\"", C::Not(Box::new(score(50)))),
        ("attribute.employees > -1", attribute("employees", Compare::More, AttributeValue::Number(-1))),
        (
            "attribute.industry != '金融'",
            attribute("industry", Compare::Unequal, AttributeValue::Text("金融".into())),
        ),
        (
            "attribute.company == 'and \"or\"'",
            attribute("company", Compare::Equal, AttributeValue::Text("and \"or\"".into())),
        ),
        ("source == \"instagram\"", C::Source("instagram".into())),
        ("magnet != \"checklist\"", C::Not(Box::new(C::Magnet(id("checklist"))))),
        ("locale == \"ja\"", C::Locale("ja".into())),
        ("opened(\"day-1\")", C::Opened(id("day-1"))),
        ("clicked(\"day-1\")", C::Clicked { mail: id("day-1"), link: None }),
        (
            "clicked(\"day-4\", \"booking_url\")",
            C::Clicked { mail: id("day-4"), link: Some("/booking".into()) },
        ),
        (
            "clicked(\"day-1\", \"/pages/cases\")",
            C::Clicked { mail: id("day-1"), link: Some("/pages/cases".into()) },
        ),
        ("seen(\"pricing\") >= 3", C::Seen { page: id("pricing"), compare: Compare::AtLeast, times: 3 }),
        ("ever(\"customer_paid\")", C::Ever(Trigger::Fact(FactKind::CustomerPaid))),
        ("ever(\"ordered\")", C::Ever(Trigger::Told(id("ordered")))),
        ("happened(\"ordered\")", C::Happened(Trigger::Told(id("ordered")))),
        ("inside(\"follow-up\")", C::Inside(id("follow-up"))),
        ("silent_days >= 30", C::SilentDays(Compare::AtLeast, 30)),
        ("segment(\"fans\")", tag()),
    ] {
        let (test, problems) = problems_of(text, true);
        assert_eq!(test.map(|test| test.condition), Some(expected), "{text}: {problems:?}");
        assert!(problems.is_empty(), "{text}: {problems:?}");
    }
}

#[test]
fn a_slip_is_told_at_its_letter() {
    let missing = "a condition is missing | write one, such as `tag(\"vip\")` or `score >= 50`";
    for (text, expected) in [
        ("", &*format!("x:1:1: {missing}")),
        ("score > 5 and", &*format!("x:1:14: {missing}")),
        ("scor > 5", "x:1:1: a condition can't begin with `scor` | did you mean `score`?"),
        ("score > 5 score", "x:1:11: `score` is not expected here | join conditions by `and` or `or`"),
        ("score", "x:1:6: `score` is compared with nothing | write `score == 50`"),
        ("score = 5", "x:1:7: `=` compares nothing | write `==`"),
        ("score > \"5\"", "x:1:9: a whole number is missing | write `score == 50`"),
        ("score > 5.5", "x:1:9: `5.5` is no whole number | write digits only: `50`"),
        (
            "score > 99999999999999999999",
            "x:1:9: `99999999999999999999` is no whole number | write digits only: `50`",
        ),
        ("score > 5 && score < 9", "x:1:11: `&` is not understood | write `and`"),
        ("!tag(\"vip\")", "x:1:1: `!` is not understood | write `not`"),
        ("tag", "x:1:4: `tag` of what? | write `tag(\"vip\")`"),
        ("tag(vip)", "x:1:5: a text between quotes is missing | write `tag(\"vip\")`"),
        (
            "tag(\"vip)",
            "x:1:5: the text is never closed: `\"` is missing | close it with the quote that it begins with",
        ),
        ("(tag(\"vip\")", "x:1:12: a bracket is never closed | write `)`"),
        ("tag(\"vip\"", "x:1:10: a bracket is never closed | write `)`"),
        ("tag(\"vip\") or\n 名前", "x:2:2: a condition can't begin with `名前` | known here: "),
        ("stage == \"mqll\"", "x:1:10: there is no stage `mqll` | did you mean `mql`?"),
        (
            "band >= \"hot\"",
            "x:1:6: `band` is neither more nor less than something | compare it with `==` or `!=`",
        ),
        ("band == \"hott\"", "x:1:9: there is no band `hott` | did you mean `hot`?"),
        ("attribute == \"IT\"", "x:1:1: `attribute` of what? | write `attribute.` and the attribute's id"),
        (
            "attribute.industri == \"IT\"",
            "x:1:1: there is no attribute `industri` | did you mean `industry`?",
        ),
        ("attribute.industry == \"I.T.\"", "x:1:23: `industry` is never \"I.T.\" | known here: `IT`, `金融`"),
        (
            "attribute.industry < \"IT\"",
            "x:1:20: `attribute.industry` is neither more nor less than something | compare it with `==` or `!=`",
        ),
        (
            "attribute.employees == \"5\"",
            "x:1:24: a whole number is missing | write `attribute.employees == 100`",
        ),
        ("magnet == \"x\"", "x:1:11: there is no lead magnet `x` | known here: `checklist`"),
        ("opened(\"day1\")", "x:1:8: there is no mail `day1` | did you mean `day-1`?"),
        (
            "opened(\"draft\")",
            "x:1:8: no sequence sends the mail `draft` | name a mail that people get, or send it",
        ),
        (
            "clicked(\"day-1\", \"booking_url\")",
            "x:1:18: the mail `day-1` has no link `booking_url` | write a URL variable of the mail, such as `booking_url`, or a piece of a URL in it",
        ),
        (
            "clicked(\"day-1\", \"unsubscribe_url\")",
            "x:1:18: nobody hears of clicks on `unsubscribe_url`: it holds the person's own key | ask for what follows from it: `ever(\"unsubscribed\")`, `ever(\"preferences_changed\")`",
        ),
        ("seen(\"pricing\")", "x:1:16: `seen(…)` is compared with nothing | write `seen(…) == 3`"),
        ("seen(\"pricin\") > 1", "x:1:6: there is no page `pricin` | did you mean `pricing`?"),
        ("ever(\"orderd\")", "x:1:6: no fact is called `orderd` | did you mean `ordered`?"),
        ("ever(\"visited\")", "x:1:6: no fact is called `visited` | known here: "),
        ("inside(\"followup\")", "x:1:8: there is no sequence `followup` | did you mean `follow-up`?"),
        ("segment(\"fan\")", "x:1:9: there is no segment `fan` | did you mean `fans`?"),
        ("tag(\"vib\")", "x:1:5: warning: nobody gives the tag `vib` | did you mean `vip`?"),
        (
            "source == \"instagran\"",
            "x:1:11: warning: simulation.toml knows no source `instagran` | did you mean `instagram`?",
        ),
    ] {
        let (_, problems) = problems_of(text, true);
        let [problem] = problems.as_slice() else { panic!("{text}: {problems:?}") };
        assert!(problem.starts_with(expected), "{text}: {problem}");
        assert!(expected.ends_with(": ") || problem == expected, "{text}: {problem}");
    }
    let (test, problems) = problems_of("score > 1 or happened(\"ordered\")", false);
    assert!(test.is_none());
    assert_eq!(
        problems,
        [
            "x:1:14: `happened` asks about the time since somebody entered a sequence: only its steps know that | write `ever`"
        ]
    );
}

#[test]
fn no_text_is_too_much() {
    let nested = format!("{}tag('vip'){}", "(".repeat(100_000), ")".repeat(100_000));
    let nots = format!("{}tag('vip')", "not ".repeat(100_000));
    let long = vec!["tag('vip')"; 1000].join(" or ");
    for (text, expected) in [
        (nested, "x:1:31: too many brackets"),
        (nots, "x:1:121: too many brackets"),
        (long, "x:1:1: the condition has 1001 parts"),
    ] {
        let (test, problems) = problems_of(&text, true);
        assert!(test.is_none());
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
    }
}

#[test]
fn columns_count_letters_through_quotes_and_escapes() {
    for (written, expected) in [
        ("if = 'score > x'", (1, 15)),
        ("if = \"tag(\\\"vip\\\") or score > x\"", (1, 31)),
        ("if = '金 > 1'", (1, 7)),
        ("if = \"\\u91d1 > x\"", (1, 7)),
        ("if = '''\nscore > 1 or\n  score > x'''", (3, 11)),
    ] {
        let source = Source { file: "x".into(), text: written.into() };
        let mut problems = vec![];
        let table = crate::reader::parse(&source, &mut problems).unwrap();
        let mut reader = crate::reader::Reader::file(&source, &table);
        let value = reader.text("if", "", &mut problems).unwrap();
        assert!(parse_value(&value, &source, &names(), true, &mut problems).is_none());
        let place = problems.first().map(|problem| (problem.line.unwrap(), problem.column.unwrap()));
        assert_eq!(place, Some(expected), "{written}: {problems:?}");
    }
}
