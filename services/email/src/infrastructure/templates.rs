//! What customers read, as text and as HTML.

use contracts::{Currency, Money};

use crate::application::ports::Attempt;
use crate::domain::email::{CancelReason, Content};
use crate::domain::money;

const LAYOUT: &str = include_str!("../../templates/layout.html");

/// A mail's words.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// The files of one template, and the heading above them.
struct Template {
    heading: &'static str,
    text: &'static str,
    html: &'static str,
}

const ORDER_CONFIRMED: Template = Template {
    heading: "Your order is confirmed",
    text: include_str!("../../templates/order_confirmed.txt"),
    html: include_str!("../../templates/order_confirmed.html"),
};
const ORDER_CANCELLED: Template = Template {
    heading: "Your order is cancelled",
    text: include_str!("../../templates/order_cancelled.txt"),
    html: include_str!("../../templates/order_cancelled.html"),
};
const PAYMENT_REFUNDED: Template = Template {
    heading: "Your money is on its way back",
    text: include_str!("../../templates/payment_refunded.txt"),
    html: include_str!("../../templates/payment_refunded.html"),
};

/// Fills the template of a mail. Every value is escaped where it goes into HTML.
pub(super) fn words(attempt: &Attempt) -> Words {
    let (template, money, reason) = match &attempt.content {
        Content::OrderConfirmed { total } => (ORDER_CONFIRMED, total, ""),
        Content::OrderCancelled { total, reason } => (ORDER_CANCELLED, total, sentence(*reason)),
        Content::PaymentRefunded { amount } => (PAYMENT_REFUNDED, amount, ""),
    };
    let Template { heading, text, html } = template;
    let (order_id, money) = (attempt.order_id.to_string(), shown(money));
    let subject = format!("{heading} ({})", order_id.split('-').next().unwrap_or_default());
    let values = [("order_id", order_id.as_str()), ("money", &money), ("reason", reason)];
    let escaped = values.map(|(name, value)| (name, escape(value)));
    let body = fill(html, escaped.each_ref().map(|(name, value)| (*name, value.as_str())));
    let html = fill(
        LAYOUT,
        [("subject", escape(&subject).as_str()), ("heading", heading), ("body", body.trim_end())],
    );
    Words { subject, text: fill(text, values), html }
}

fn sentence(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::OutOfStock => "We are sorry: not all of your order was in stock.",
        CancelReason::PaymentDeclined => "Your payment was declined.",
        CancelReason::CustomerRequest => "Your order is cancelled, as you asked.",
        CancelReason::TimedOut => "We are sorry: your order could not be finished in time.",
    }
}

fn shown(money: &money::Money) -> String {
    match Currency::try_from(money.currency.clone()) {
        Ok(currency) => Money::new(money.amount_minor, currency).to_string(),
        Err(_) => format!("{} {}", money.amount_minor, money.currency),
    }
}

/// One pass, so that a value that looks like a placeholder stays a value.
fn fill<const N: usize>(template: &str, values: [(&str, &str); N]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    fn words_of(content: Content) -> Words {
        words(&Attempt {
            email_id: Uuid::nil(),
            order_id: Uuid::from_u128(0xabcd_0000),
            content,
            recipient: "ada@example.com".into(),
            message_id: "m@example.com".into(),
            date: DateTime::UNIX_EPOCH,
            number: 1,
        })
    }

    #[test]
    fn every_template_is_filled_whole_in_both_forms() {
        let money = || money::Money::new(123_456, "GBP");
        let reason = CancelReason::OutOfStock;
        let all = [
            Content::OrderConfirmed { total: money() },
            Content::OrderCancelled { total: money(), reason },
            Content::PaymentRefunded { amount: money() },
        ];
        for content in all {
            let cancelled = matches!(content, Content::OrderCancelled { .. });
            let Words { subject, text, html } = words_of(content);
            assert!(subject.ends_with("(00000000)"), "{subject}");
            for form in [&text, &html] {
                assert!(form.contains("1234.56 GBP") && form.contains("abcd0000"), "{form}");
                assert!(!form.contains("{{") && !form.contains("}}"), "{form}");
                assert_eq!(form.contains("in stock"), cancelled);
            }
        }
    }

    #[test]
    fn values_are_escaped_in_html_only_and_never_filled_again() {
        let hostile = money::Money::new(1, "<b>{{order_id}}&\"'");
        let Words { text, html, .. } = words_of(Content::OrderConfirmed { total: hostile });
        assert!(text.contains("1 <b>{{order_id}}&\"'"), "{text}");
        assert!(!html.contains("<b>"), "{html}");
        assert!(html.contains("1 &lt;b&gt;{{order_id}}&amp;&quot;&#39;"), "{html}");
    }
}
