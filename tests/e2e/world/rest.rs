//! A shop at rest, and whether everything in it adds up.

use shop::verify::{Broker, Coverage, Databases, Gateway, Verdict, check, settle};

use super::{LATER, World};

impl World {
    /// Waits until nothing is under way: events published and handled, wishes fulfilled, queues empty.
    pub async fn quiet(&self) {
        assert_eq!(settle(&self.checked(), LATER).await.unwrap(), None, "the shop comes to rest");
    }

    /// Waits until nothing is under way, then checks every invariant, as `shop verify` does.
    pub async fn verified(&self) {
        self.quiet().await;
        let verdicts = check(&self.checked()).await.unwrap();
        let is_bad = |verdict: &Verdict| {
            let findings = &verdict.findings;
            findings.violations > 0 || matches!(findings.coverage, Coverage::Unknown(_))
        };
        let bad: Vec<Verdict> = verdicts.into_iter().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }

    fn checked(&self) -> shop::verify::World {
        let url_of = |service: shop::verify::Service| self.databases[service.name()].url();
        let databases = Databases::at(|service| url_of(service).to_owned()).unwrap();
        let broker = Broker::new(&self.vhost.management().url(), self.vhost.name()).unwrap();
        shop::verify::World::new(databases, broker, Gateway::new(&self.gateway_url))
    }
}
