//! What clients see of payments.

/// A payment as a client sees it.
#[expect(missing_docs, reason = "the columns of the payment table")]
pub struct PaymentView {
    pub status: String,
    pub amount_minor: i64,
    pub currency: String,
    pub attempts: i32,
    pub decline_reason: Option<String>,
}
