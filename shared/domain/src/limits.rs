//! Every limit of the product, in one place.

/// Longest mail address accepted, in bytes (RFC 5321 §4.5.3.1.3 less the angle brackets).
pub const EMAIL_BYTES: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321 §4.5.3.1.1).
pub const EMAIL_LOCAL_BYTES: usize = 64;
/// Longest name, source, tag or other short text accepted from a form, in characters.
pub const SHORT_TEXT_CHARS: usize = 100;
/// Longest free text accepted from a form, in characters.
pub const LONG_TEXT_CHARS: usize = 2_000;
/// Longest URL stored with an event, in bytes.
pub const URL_BYTES: usize = 2_000;
/// Largest request body that a function reads, in bytes.
pub const BODY_BYTES: usize = 64 * 1024;
/// Events of one day are spread over this many partitions, since one partition takes
/// 1,000 write units a second.
pub const EVENT_SHARDS: u8 = 4;
/// The furthest day ahead for which free slots may be asked, in days.
pub const SLOT_DAYS: i64 = 60;
/// Most slots looked up in one request.
pub const SLOTS_PER_REQUEST: usize = 300;
/// Most keys in one look-up (DynamoDB's BatchGetItem).
pub const KEYS_PER_BATCH: usize = 100;
/// How many days that are over the night counts again, since facts may be heard of late: Stripe
/// repeats a webhook for three days, and the day on which it began may have been the one before.
pub const LATE_DAYS: i64 = 4;
/// How often a write is tried again when another writer got there first.
pub const CONFLICT_RETRIES: u32 = 5;
/// A step due within this many seconds goes straight to its queue: Scheduler's precision is a minute.
pub const DUE_NOW_SECONDS: i64 = 60;
/// How long a timer may be late before a reminder "before" something is pointless, in seconds:
/// it is never sent once the thing itself has begun.
pub const STEP_GRACE_SECONDS: i64 = 60;
/// Age at which a webhook's signature is refused, in seconds (Stripe's own default).
pub const WEBHOOK_TOLERANCE_SECONDS: i64 = 300;
/// How many times one message may hop between our own queues before it is called a loop.
pub const MAX_HOPS: u32 = 100;
/// How long a sign-in link for the console works, in hours.
pub const CONSOLE_LINK_HOURS: i64 = 12;
/// How long a link to book, manage or apply works, in days.
pub const PERSONAL_LINK_DAYS: i64 = 90;
/// How long after a claim its sender may still be at work, in seconds: longer than the delivery
/// function may run, shorter than its queue hides a message from other readers.
pub const CLAIM_SETTLES_SECONDS: i64 = 90;
/// Views of a page within this many minutes are one (half an hour is what web statistics call a
/// session).
pub const PAGE_VIEW_MINUTES: i64 = 30;
/// Most values that another system may tell with a fact.
pub const FACT_VALUES: usize = 20;
/// How far into the past a fact may be told, in days.
pub const FACT_AGE_DAYS: i64 = 30;
/// How far ahead of our clock another system's may be, in seconds.
pub const CLOCK_SKEW_SECONDS: i64 = 300;
/// Most steps of one sequence; also the most that one piece of due work takes in a row.
pub const STEPS: usize = 100;
/// Decisions that an enrolment remembers.
pub const DECISIONS: usize = 20;
/// Most tags of one person.
pub const TAGS: usize = 50;
/// Most people that one tick of a broadcast looks at.
pub const BROADCAST_PAGE: i32 = 100;
/// Longest time that a message can wait in a queue, in seconds (SQS).
pub const QUEUE_WAIT_SECONDS: i32 = 900;
/// Seconds between two ticks of a broadcast.
pub const BROADCAST_TICK_SECONDS: i64 = 60;
/// Longest time a webhook may take to answer, in seconds: a batch of ten that all hang must leave
/// the delivery function time for the rest.
pub const WEBHOOK_SECONDS: u64 = 2;
/// How often a webhook is tried before the sequence goes on without it.
pub const WEBHOOK_TRIES: u32 = 5;
/// How long a score that can't fall is left alone before somebody looks again, in days.
pub const SCORE_WATCH_DAYS: i64 = 30;
/// Days that a mail which can't be made for a person is tried again before it is given up.
pub const HELD_DAYS: usize = 7;
/// How long a step must be over before the sweep takes it for lost, in minutes: longer than its
/// queue takes to bring it back after a failure, or two.
pub const SWEEP_GRACE_MINUTES: i64 = 15;
/// Most steps that one sweep puts back into the queues.
pub const SWEEP_STEPS: usize = 1_000;
/// The same of the night's sweep, which has a quarter of an hour.
pub const NIGHT_SWEEP_STEPS: usize = 20_000;
/// Longest pause that a person can choose, in days.
pub const PAUSE_DAYS: i64 = 365;
/// How long a mail waits when SES takes none, in minutes.
pub const SES_PAUSE_MINUTES: i64 = 15;
/// After so many sends in a row without an answer, a sender leaves SES alone for
/// [`SES_PAUSE_MINUTES`]: a marketing mail in doubt is never sent again.
pub const SILENCE_IN_A_ROW: u32 = 3;
/// How long a batch of due work may take on new work, in seconds: with what it has begun by then it is
/// done before Lambda ends the function (the template's time-out), even if SES hangs.
pub const DELIVERY_SECONDS: i64 = 30;
/// How long a batch of the stream takes on new facts, in seconds: a third of the relay's time-out.
pub const RELAY_SECONDS: i64 = 20;
/// How long facts wait for a bus that does not take them, in minutes: then they are put aside, and what
/// comes behind them goes on.
pub const BUS_PATIENCE_MINUTES: i64 = 10;
/// How long a tick of a broadcast may turn over people, in seconds; the next one goes on from there.
pub const BROADCAST_SECONDS: i64 = 10;
/// Receives, also those that there was no time for, after which something that this version of the
/// funnel does not know is given up: a deployment may have reached one function before the other.
pub const UNKNOWN_TRIES: u32 = 3;
/// Soft bounces of different mails, with nothing delivered between, after which an address is closed.
pub const SOFT_BOUNCES: usize = 3;
/// How far back soft bounces count, in days.
pub const SOFT_BOUNCE_DAYS: i64 = 30;
/// How often SES answers anything but sending: once in so many milliseconds, with a little to spare.
pub const SES_CALL_MILLIS: u64 = 1_100;
/// Most addresses that one night puts on SES's suppression list; the rest waits for the next night.
pub const LISTED_PER_NIGHT: usize = 100;
/// How long an open or click is left lying before it becomes a fact, in seconds: the rest of a
/// machine's visit is known by then. The queue in the template holds it back.
pub const VERDICT_SECONDS: i64 = 60;
/// Opens and clicks of one mail that its row in the ledger keeps: a row is written in whole.
pub const TOUCHES_KEPT: usize = 16;
/// Visits of a person's browser up to so many days before her first opt-in count as hers when her
/// data are exported or erased.
pub const VISITS_BEFORE_DAYS: i64 = 90;
/// Shortest time that details may be kept, in days: longer than late news and recounts look back.
pub const RETENTION_DAYS: i64 = 30;
