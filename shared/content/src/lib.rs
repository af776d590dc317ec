//! Funnels as people write them: a directory of TOML and Markdown is read into a checked
//! [`Funnel`], which renders its mails and pages.
//!
//! What a person typed never becomes markup: all HTML is made first, and values are filled in
//! last, escaped for where they stand.

pub mod format;
pub mod funnel;
pub mod mail;
pub mod page;
pub mod problem;
pub mod simulation;
pub mod texts;

mod condition;
mod expression;
mod html;
mod loader;
mod markdown;
mod plain;
mod reader;
mod touched;
mod written;

pub use funnel::Funnel;
pub use loader::{Checked, check};
pub use mail::{Mail, MailConsultation, MailContext, MailPurchase, MailSender, RenderProblem, RenderedMail};
pub use page::{
    ApplyForm, BookedForm, BookingForm, CONTENT_SECURITY_POLICY, Form, FormError, FormKind, Message, Moving,
    OptInForm, Page, PageContext, PreferencesForm, SlotChoice,
};
pub use problem::{Problem, Severity};
pub use texts::Locale;
pub use touched::{Change, Touched, TouchedStep, touched};
