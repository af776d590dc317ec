//! Double opt-in: the link in the confirmation mail shows a button, the button confirms.

use content::Form as PageForm;
use domain::lead;
use serde_json::json;
use web::{
    answer::{self, Answer},
    link::Purpose,
    problem::Failure,
    request::Request,
};

use crate::OptIn;

impl OptIn {
    pub(crate) fn show_confirm(&self, request: &Request) -> Result<Answer, Failure> {
        let token = request.query("t").unwrap_or_default();
        self.lead_for(Purpose::Confirm, token)?;
        let page = self.own_page("confirm")?;
        self.shown(200, page, PageForm::Confirm { token: token.to_owned() }, vec![])
    }

    /// Confirming twice is confirming once.
    pub(crate) async fn confirm(&self, request: &Request) -> Result<Answer, Failure> {
        let form = request.form().unwrap_or_default();
        let token = request.query("t").or(form.text("t")).unwrap_or_default();
        let lead_id = self.lead_for(Purpose::Confirm, token)?;
        let (now, zone) = (self.cloud.now(), self.funnel.time_zone);
        self.change(&lead_id, |lead| lead::confirm_opt_in(lead, request.ip.clone(), now, zone)).await?;
        match request.wants_html() {
            true => self.shown(200, self.own_page("confirmed")?, PageForm::None, vec![]),
            false => Ok(answer::json(200, &json!({"lead_id": lead_id, "status": "opted_in"}))),
        }
    }
}
