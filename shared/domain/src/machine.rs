//! Whether a person or a machine opened a mail or followed a link, and what speaks for it.
//!
//! Evidence by strength:
//!
//! 1. **Enough by itself**, whatever else is known: the link that no person can see was followed,
//!    in the same visit or by this very click; many links were followed faster than a person
//!    reads; it happened before the mail was delivered; the user agent names a machine; the network
//!    is a mail scanner's own; SES says that it was likely a bot.
//! 2. **A hint**: it came from a data centre, or within seconds of delivery. People sit behind
//!    data centres too (a company's gateway, a VPN), and some have their mail open. One hint is
//!    enough where SES says nothing, two where SES says that a bot is unlikely.
//! 3. **A vouch**: SES says that a bot is unlikely. It outweighs one hint and nothing else.
//!
//! Without evidence it was a person: somebody who is there must not be overlooked.
//!
//! Two proxies fetch pictures on somebody's behalf. Gmail's and Yahoo's do it when the person opens
//! the mail: that is her open, and their network says nothing about her. Apple's Mail Privacy
//! Protection does it whether she opens the mail or not: that is a machine's.
//!
//! Opens and clicks less than [`VISIT_SECONDS`] apart are one visit of one reader. A machine's
//! visit says nothing about the next one: a person who clicks later counts. A verdict only ever
//! changes from person to machine, when the rest of a visit becomes known.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr, sync::LazyLock};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::time;

/// Where the link leads that every marketing mail hides from people, below the public URL. The page
/// is an ordinary one, so that a machine finds nothing odd about it; the query names no one.
pub const HIDDEN_LINK: &str = "/pages/privacy?unseen";
/// Opens and clicks at most this far apart are one visit.
pub const VISIT_SECONDS: i64 = 10;
/// So many different links within so many seconds are more than a person follows: she has to see a
/// page and come back.
const BURSTS: [(usize, i64); 2] = [(2, 2), (3, VISIT_SECONDS)];
/// What happens so soon after delivery is a hint at a machine, in seconds.
const EARLY_SECONDS: i64 = 5;
/// SES's own clocks may be this far apart, in seconds.
const SKEW_SECONDS: i64 = 2;

/// A user agent, or a part of one, and what it says.
struct Agent {
    /// In lower case.
    text: String,
    whole: bool,
    says: fn(String) -> Evidence,
    name: String,
}

/// A network and what it says.
struct Network {
    base: IpAddr,
    bits: u32,
    says: fn(String) -> Evidence,
    name: String,
}

/// In the order of the file: the first that fits is the one.
static AGENTS: LazyLock<Vec<Agent>> =
    LazyLock::new(|| lines(include_str!("machine/agents.txt")).filter_map(agent).collect());
/// In the order of the file: the first that fits is the one.
static NETWORKS: LazyLock<Vec<Network>> =
    LazyLock::new(|| lines(include_str!("machine/networks.txt")).filter_map(network).collect());

/// What speaks for a machine, or for a person. Its text is its kind, and after a space the name of
/// whoever it is about: `agent Barracuda`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Evidence {
    /// The hidden link itself was followed.
    HiddenLink,
    /// The hidden link was followed in the same visit.
    SameVisit,
    /// Several links were followed faster than a person can.
    Burst,
    /// Nobody can read what has not arrived.
    BeforeDelivery,
    /// The user agent is a machine's.
    Agent(String),
    /// The network belongs to a mail scanner.
    Scanner(String),
    /// SES says `Likely`.
    SesLikely,
    /// A hint: the network is a data centre's.
    DataCentre(String),
    /// A hint: within seconds of delivery.
    Early,
    /// SES says `Unlikely`.
    SesUnlikely,
    /// A proxy that fetches pictures when the person opens the mail.
    Proxy(String),
}

impl Evidence {
    /// Its kind, as a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HiddenLink => "hidden_link",
            Self::SameVisit => "same_visit",
            Self::Burst => "burst",
            Self::BeforeDelivery => "before_delivery",
            Self::Agent(_) => "agent",
            Self::Scanner(_) => "scanner",
            Self::SesLikely => "ses_likely",
            Self::DataCentre(_) => "data_centre",
            Self::Early => "early",
            Self::SesUnlikely => "ses_unlikely",
            Self::Proxy(_) => "proxy",
        }
    }

    /// Who it is about.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Agent(name) | Self::Scanner(name) | Self::DataCentre(name) | Self::Proxy(name) => {
                Some(name)
            }
            Self::HiddenLink
            | Self::SameVisit
            | Self::Burst
            | Self::BeforeDelivery
            | Self::SesLikely
            | Self::Early
            | Self::SesUnlikely => None,
        }
    }

    fn weight(&self) -> Weight {
        match self {
            Self::HiddenLink
            | Self::SameVisit
            | Self::Burst
            | Self::BeforeDelivery
            | Self::Agent(_)
            | Self::Scanner(_)
            | Self::SesLikely => Weight::Enough,
            Self::DataCentre(_) | Self::Early => Weight::Hint,
            Self::SesUnlikely => Weight::Vouch,
            Self::Proxy(_) => Weight::None,
        }
    }
}

#[derive(PartialEq)]
enum Weight {
    Enough,
    Hint,
    Vouch,
    None,
}

impl fmt::Display for Evidence {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            None => to.write_str(self.kind()),
            Some(name) => write!(to, "{} {name}", self.kind()),
        }
    }
}

impl From<Evidence> for String {
    fn from(evidence: Evidence) -> Self {
        evidence.to_string()
    }
}

impl TryFrom<String> for Evidence {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (kind, name) = text.split_once(' ').unwrap_or((&text, ""));
        Ok(match kind {
            "hidden_link" => Self::HiddenLink,
            "same_visit" => Self::SameVisit,
            "burst" => Self::Burst,
            "before_delivery" => Self::BeforeDelivery,
            "agent" => Self::Agent(name.to_owned()),
            "scanner" => Self::Scanner(name.to_owned()),
            "ses_likely" => Self::SesLikely,
            "data_centre" => Self::DataCentre(name.to_owned()),
            "early" => Self::Early,
            "ses_unlikely" => Self::SesUnlikely,
            "proxy" => Self::Proxy(name.to_owned()),
            kind => return Err(format!("{kind} is no kind of evidence")),
        })
    }
}

/// Whoever opened the mail or followed a link, as SES saw it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a> {
    pub user_agent: &'a str,
    pub ip: Option<IpAddr>,
    /// SES's `isBotEvent`: `Likely`, `Unlikely` or nothing.
    pub said_by_ses: Option<&'a str>,
}

impl Reader<'_> {
    /// What speaks for and against a machine as far as it can be known from one request.
    fn evidence(&self) -> Vec<Evidence> {
        let agent = self.user_agent.trim().to_lowercase();
        let fits = |known: &&Agent| match known.whole {
            true => agent == known.text,
            false => agent.contains(&known.text),
        };
        let agent = AGENTS.iter().find(fits).map(|known| (known.says)(known.name.clone()));
        let network = match agent {
            // The network is the proxy's, not the person's.
            Some(Evidence::Proxy(_)) => None,
            _ => self.ip.and_then(|ip| NETWORKS.iter().find(|network| network.holds(ip))),
        };
        let network = network.map(|known| (known.says)(known.name.clone()));
        let ses = match self.said_by_ses {
            Some("Likely") => Some(Evidence::SesLikely),
            Some("Unlikely") => Some(Evidence::SesUnlikely),
            _ => None,
        };
        [agent, network, ses].into_iter().flatten().collect()
    }
}

/// One open or click of a mail, with the verdict on it and why. Neither user agent nor address is
/// kept: what they say is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    #[serde(with = "time::stored")]
    pub at: DateTime<Utc>,
    /// The link that was followed, without its personal key; none is an open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The verdict.
    pub machine: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

impl Touch {
    /// Somebody or something opened the mail.
    pub fn open(at: DateTime<Utc>, reader: Reader<'_>) -> Self {
        Self { at, link: None, machine: false, evidence: reader.evidence() }
    }

    /// Somebody or something followed a link, as SES names it; `page` is what is kept of it.
    pub fn click(at: DateTime<Utc>, link: &str, page: String, reader: Reader<'_>) -> Self {
        let mut evidence = reader.evidence();
        if link.contains(HIDDEN_LINK) {
            evidence.insert(0, Evidence::HiddenLink);
        }
        Self { at, link: Some(page), machine: false, evidence }
    }

    /// Whether `told` is the same touch, told again: what its visit and its time say of it may have
    /// been learned meanwhile.
    pub fn is(&self, told: &Self) -> bool {
        self.at == told.at && self.link == told.link && self.of_request().eq(told.of_request())
    }

    /// Whether both are the same fact: the mail was opened, or this link of it followed, by a person;
    /// or any link of it by a machine, which follows them all.
    pub fn is_the_fact_of(&self, other: &Self) -> bool {
        self.machine == other.machine
            && match self.machine {
                true => self.link.is_some() == other.link.is_some(),
                false => self.link == other.link,
            }
    }

    /// The evidence that the request itself gave.
    fn of_request(&self) -> impl Iterator<Item = &Evidence> {
        use Evidence::{BeforeDelivery, Burst, Early, SameVisit};
        self.evidence.iter().filter(|known| !matches!(known, SameVisit | Burst | BeforeDelivery | Early))
    }

    fn learn(&mut self, evidence: Evidence) {
        if !self.evidence.contains(&evidence) {
            self.evidence.push(evidence);
        }
    }
}

/// Judges all that is known of the opens and clicks of one mail, and puts them in order of time.
/// Judging again with more of them may turn a person's into a machine's, never the other way.
pub fn judge(touches: &mut [Touch], delivered_at: Option<DateTime<Utc>>) {
    touches.sort_by(|one, other| (one.at, &one.link).cmp(&(other.at, &other.link)));
    let gap = TimeDelta::seconds(VISIT_SECONDS);
    for visit in touches.chunk_by_mut(|one, next| next.at - one.at <= gap) {
        let hidden = visit.iter().any(|touch| touch.evidence.contains(&Evidence::HiddenLink));
        let burst = is_burst(visit);
        for touch in visit {
            if hidden && !touch.evidence.contains(&Evidence::HiddenLink) {
                touch.learn(Evidence::SameVisit);
            }
            if burst {
                touch.learn(Evidence::Burst);
            }
            if let Some(timing) = delivered_at.and_then(|delivered| timing(touch.at - delivered)) {
                touch.learn(timing);
            }
            touch.machine |= is_machine(&touch.evidence);
        }
    }
}

fn is_machine(evidence: &[Evidence]) -> bool {
    let count = |weight: Weight| evidence.iter().filter(|evidence| evidence.weight() == weight).count();
    count(Weight::Enough) > 0 || count(Weight::Hint) > count(Weight::Vouch)
}

fn is_burst(visit: &[Touch]) -> bool {
    BURSTS.iter().any(|(links, seconds)| {
        visit.iter().any(|first| {
            let until = first.at + TimeDelta::seconds(*seconds);
            let within = visit.iter().filter(|touch| (first.at..=until).contains(&touch.at));
            within.filter_map(|touch| touch.link.as_ref()).collect::<BTreeSet<_>>().len() >= *links
        })
    })
}

fn timing(after: TimeDelta) -> Option<Evidence> {
    match after {
        after if after < TimeDelta::seconds(-SKEW_SECONDS) => Some(Evidence::BeforeDelivery),
        after if after <= TimeDelta::seconds(EARLY_SECONDS) => Some(Evidence::Early),
        _ => None,
    }
}

impl Network {
    fn holds(&self, ip: IpAddr) -> bool {
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                let differ = base.to_bits() ^ ip.to_bits();
                differ.checked_shr(32_u32.saturating_sub(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                let differ = base.to_bits() ^ ip.to_bits();
                differ.checked_shr(128_u32.saturating_sub(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The lines of a list that say something, each in its columns.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let says = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    text.lines().filter(says).map(|line| line.split('|').map(str::trim).collect())
}

/// A line of `machine/agents.txt`; none if it can't be read.
fn agent(columns: Vec<&str>) -> Option<Agent> {
    let [kind, text, name, _source] = columns[..] else { return None };
    let says = match kind {
        "machine" => Evidence::Agent,
        "proxy" => Evidence::Proxy,
        _ => return None,
    };
    let (text, whole) = text.strip_prefix('=').map_or((text, false), |text| (text, true));
    Some(Agent { text: text.to_lowercase(), whole, says, name: name.to_owned() })
}

/// A line of `machine/networks.txt`; none if it can't be read.
fn network(columns: Vec<&str>) -> Option<Network> {
    let [kind, cidr, name, _source] = columns[..] else { return None };
    let says = match kind {
        "scanner" => Evidence::Scanner,
        "data_centre" => Evidence::DataCentre,
        _ => return None,
    };
    let (base, bits) = cidr.split_once('/')?;
    let base = IpAddr::from_str(base).ok()?;
    let most = if base.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| (1..=most).contains(bits))?;
    Some(Network { base, bits, says, name: name.to_owned() })
}

#[cfg(test)]
mod tests;
