//! A person's script: `opens step 2, clicks pricing, silent 10 days`.

/// Something that the person does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    OptsIn {
        magnet: Option<String>,
    },
    Confirms,
    /// The mail of that id, or the so-manieth that she got.
    Opens(Which),
    /// A link in the mail that she opened last, by URL variable, or by a piece of URL or text.
    Clicks(String),
    Sees(String),
    Does(String),
    Books,
    Cancels,
    Attends,
    Misses,
    Buys {
        plan: Option<String>,
    },
    Unsubscribes,
    Silent {
        hours: i64,
    },
}

/// Which mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Mail(String),
    /// From 1.
    Number(usize),
}

/// How scripts are written, for error messages and help.
pub const FORMS: &str = "opts in [MAGNET] · confirms · opens MAIL · opens step N · clicks LINK · sees PAGE · does FACT · books · cancels · attends · misses · buys [PLAN] · unsubscribes · silent N days|hours";

/// Why a script can't be played.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing a person can do here; write, divided by commas: {FORMS}")]
pub struct ScriptError(String);

/// Reads a script.
///
/// # Errors
/// [`ScriptError`] naming the part that is not understood.
pub fn parse(text: &str) -> Result<Vec<Deed>, ScriptError> {
    text.split([',', '、']).map(str::trim).filter(|part| !part.is_empty()).map(deed).collect()
}

fn deed(part: &str) -> Result<Deed, ScriptError> {
    let words: Vec<&str> = part.split_whitespace().collect();
    let owned = |word: &str| word.to_owned();
    Ok(match words.as_slice() {
        ["opts", "in"] => Deed::OptsIn { magnet: None },
        ["opts", "in", magnet] => Deed::OptsIn { magnet: Some(owned(magnet)) },
        ["confirms"] => Deed::Confirms,
        ["opens", "step" | "mail", number] if number.parse::<usize>().is_ok_and(|number| number > 0) => {
            Deed::Opens(Which::Number(number.parse().unwrap_or(1)))
        }
        ["opens", mail] => Deed::Opens(Which::Mail(owned(mail))),
        ["clicks", link @ ..] if !link.is_empty() => Deed::Clicks(link.join(" ")),
        ["sees", page] => Deed::Sees(owned(page)),
        ["does", fact] => Deed::Does(owned(fact)),
        ["books"] => Deed::Books,
        ["cancels"] => Deed::Cancels,
        ["attends"] => Deed::Attends,
        ["misses"] => Deed::Misses,
        ["buys"] => Deed::Buys { plan: None },
        ["buys", plan] => Deed::Buys { plan: Some(owned(plan)) },
        ["unsubscribes"] => Deed::Unsubscribes,
        ["silent" | "waits", number, unit] => {
            let number: i64 = number.parse().map_err(|_| ScriptError(owned(part)))?;
            match *unit {
                "day" | "days" => Deed::Silent { hours: number * 24 },
                "hour" | "hours" => Deed::Silent { hours: number },
                _ => return Err(ScriptError(owned(part))),
            }
        }
        _ => return Err(ScriptError(owned(part))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_like_a_sentence() {
        let deeds = parse("opens step 2, clicks pricing, silent 10 days、books").unwrap();
        let expected = [
            Deed::Opens(Which::Number(2)),
            Deed::Clicks("pricing".into()),
            Deed::Silent { hours: 240 },
            Deed::Books,
        ];
        assert_eq!(deeds, expected);
        assert_eq!(parse(""), Ok(vec![]));
        for wrong in ["sleeps", "silent ten days", "opens", "clicks", "silent 3 weeks"] {
            assert_eq!(parse(wrong), Err(ScriptError(wrong.into())));
        }
    }
}
