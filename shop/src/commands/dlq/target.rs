//! Which letters: by their ids, one group of one service, or all.

use std::collections::BTreeSet;
use std::str::FromStr;

use messaging::repair::{DeadLetters, Refused, Selection};
use serde::Serialize;
use uuid::Uuid;

use super::desks::{Desks, service};
use crate::verify::Service;

/// A group, as it is typed and as lists name it: `payment/rejected/order.placed.v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) service: Service,
    reason_code: String,
    event_type: Option<String>,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '/');
        let (name, reason) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if reason.is_empty() {
            return Err("expected SERVICE/REASON or SERVICE/REASON/TYPE".to_owned());
        }
        let event_type = parts.next().filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self { service: service(name)?, reason_code: reason.to_owned(), event_type })
    }
}

impl Group {
    /// The name of a group of letters.
    pub(super) fn name(service: Service, reason_code: &str, event_type: Option<&str>) -> String {
        let short = event_type.map(|full| full.strip_prefix("shop.").unwrap_or(full));
        let short = short.map(|short| format!("/{short}")).unwrap_or_default();
        format!("{service}/{reason_code}{short}")
    }
}

/// Which letters, as they are asked for.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "target", required = false, multiple = false)]
pub(super) struct Target {
    /// These letters
    #[arg(value_name = "ID")]
    ids: Vec<Uuid>,
    /// All letters of a service that are parked for a reason, or those of one type among them
    #[arg(long, value_name = "SERVICE/REASON[/TYPE]")]
    group: Option<Group>,
}

/// Letters of one service.
pub(super) struct Chosen<'a> {
    pub(super) service: Service,
    pub(super) letters: &'a DeadLetters,
    pub(super) selection: Selection,
}

/// A letter that something was not done to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NotDone {
    pub(super) service: &'static str,
    #[serde(flatten)]
    pub(super) letter: Refused,
}

impl NotDone {
    pub(super) fn of(service: Service, refused: Vec<Refused>) -> impl Iterator<Item = Self> {
        refused.into_iter().map(move |letter| Self { service: service.name(), letter })
    }
}

impl Target {
    pub(super) fn is_none(&self) -> bool {
        self.ids.is_empty() && self.group.is_none()
    }

    /// The services that have to be asked; none stands for all.
    pub(super) fn services(&self) -> Vec<Service> {
        self.group.iter().map(|group| group.service).collect()
    }

    /// What is to be done where, and the ids that nobody knows.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(super) async fn choose<'a>(
        &self,
        desks: &'a Desks,
    ) -> Result<(Vec<Chosen<'a>>, Vec<Uuid>), sqlx::Error> {
        if let Some(Group { service, reason_code, event_type }) = self.group.clone() {
            let selection = Selection::Group { reason_code, event_type };
            let letters = desks.of(service);
            let chosen = letters.map(|letters| Chosen { service, letters, selection });
            return Ok((chosen.into_iter().collect(), Vec::new()));
        }
        let mut unknown: BTreeSet<Uuid> = self.ids.iter().copied().collect();
        let mut chosen = Vec::new();
        for (service, letters) in desks.all() {
            let known = letters.known(&self.ids).await?;
            unknown.retain(|id| !known.contains(id));
            if !known.is_empty() {
                chosen.push(Chosen { service, letters, selection: Selection::Ids(known) });
            }
        }
        Ok((chosen, unknown.into_iter().collect()))
    }
}

/// All that is parked at the services.
pub(super) fn everything(desks: &Desks) -> Vec<Chosen<'_>> {
    let all = desks.all();
    all.map(|(service, letters)| Chosen { service, letters, selection: Selection::All }).collect()
}

/// Letters that nobody knows, for people.
pub(super) fn told_unknown(unknown: &[Uuid]) -> Option<String> {
    let ids: Vec<String> = unknown.iter().map(Uuid::to_string).collect();
    (!ids.is_empty()).then(|| format!("no such dead letter: {}", ids.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_read_as_it_is_named() {
        for (service, event_type) in
            [(Service::Payment, Some("shop.order.placed.v1")), (Service::Email, None)]
        {
            let name = Group::name(service, "rejected", event_type);
            let group: Group = name.parse().unwrap_or_else(|why| panic!("{name}: {why}"));
            let short = event_type.map(|_| "order.placed.v1".to_owned());
            let reason_code = "rejected".to_owned();
            assert_eq!(group, Group { service, reason_code, event_type: short });
        }
        for bad in ["", "payment", "payment/", "nobody/rejected", "/rejected"] {
            assert!(bad.parse::<Group>().is_err(), "{bad}");
        }
    }
}
