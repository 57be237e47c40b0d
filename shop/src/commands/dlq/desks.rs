//! The dead letters of all services that can be asked.

use anyhow::bail;
use envelope::Clock;
use messaging::repair::{DeadLetters, JobStatus};
use uuid::Uuid;

use crate::commands::client::Addresses;
use crate::verify::{Databases, Service};
use crate::{Exit, Output};

/// The services whose databases answer.
pub(super) struct Desks {
    desks: Vec<(Service, DeadLetters)>,
    /// Whether some do not, which was told.
    pub(super) incomplete: bool,
}

impl Desks {
    /// Those of `only`, or of all services when it is empty.
    ///
    /// # Errors
    /// When no database answers, or an address cannot be read.
    pub(super) async fn open(
        addresses: &Addresses,
        only: &[Service],
        out: &Output,
    ) -> anyhow::Result<Self> {
        let databases = Databases::at(|service| addresses.database(service.name()))?;
        let wanted = Service::ALL.into_iter().filter(|one| only.is_empty() || only.contains(one));
        let (mut desks, mut silent) = (Vec::new(), Vec::new());
        for service in wanted {
            match databases.ping_one(service).await {
                Ok(()) => {
                    let pg = databases.of(service).clone();
                    desks.push((service, DeadLetters::new(pg, Clock::system())));
                }
                Err(error) => silent.push(format!("{error:#}")),
            }
        }
        if desks.is_empty() {
            bail!("{}", silent.join("; "));
        }
        silent.iter().for_each(|why| out.note(format_args!("shop: {why}")));
        Ok(Self { desks, incomplete: !silent.is_empty() })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Service, &DeadLetters)> {
        self.desks.iter().map(|(service, letters)| (*service, letters))
    }

    pub(super) fn of(&self, service: Service) -> Option<&DeadLetters> {
        self.all().find(|(one, _)| *one == service).map(|(_, letters)| letters)
    }

    /// Which service has a replay, and how far it is.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub(super) async fn job(&self, job: Uuid) -> Result<Option<(Service, JobStatus)>, sqlx::Error> {
        for (service, letters) in self.all() {
            if let Some(status) = letters.status(job).await? {
                return Ok(Some((service, status)));
            }
        }
        Ok(None)
    }

    /// What is done is done; what could not be asked makes it a part.
    pub(super) fn at_most_partly(&self, exit: Exit) -> Exit {
        if self.incomplete && exit == Exit::Done { Exit::Partly } else { exit }
    }
}

/// Reads the name of a service.
///
/// # Errors
/// The names that there are.
pub(super) fn service(text: &str) -> Result<Service, String> {
    Service::ALL.into_iter().find(|service| service.name() == text).ok_or_else(|| {
        let names = Service::ALL.map(Service::name);
        format!("no service {text:?}; expected {}", names.join(", "))
    })
}
