//! One order that goes well, seen from every side.

use sandbox::otlp::{SpanKind, SpanRecord, TraceTree};

use crate::world::{SERVICES, SOON, World};

#[tokio::test]
async fn an_order_is_confirmed_paid_shipped_mailed_and_audited() {
    let world = World::start().await;
    world.stock("LAMP", 1_250, 10).await;
    let order = world.place(0, "LAMP", 2, "pm_ok").await;

    let ended = world.ended(order).await;
    assert_eq!(ended["status"], "confirmed", "{ended}");
    assert_eq!(ended["total"]["amount_minor"], 2_500);
    world.verified().await;

    let stock = world.get("inventory", "/stock/LAMP").await;
    assert_eq!((stock["on_hand"].as_i64(), stock["reserved"].as_i64()), (Some(8), Some(0)));
    let charges = world.gateway.charges_of(&order.to_string());
    assert_eq!(charges.len(), 1);
    assert_eq!(world.gateway.net_captured(&order.to_string()), 2_500);
    let mails = world.mailbox.all();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].text.is_some() && mails[0].html.is_some(), "text and HTML");
    let timeline = world.get("audit", &format!("/orders/{order}/timeline")).await;
    let types: Vec<&str> = timeline["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["type"].as_str().unwrap())
        .collect();
    for expected in [
        "shop.order.placed.v1",
        "shop.inventory.stock_reserved.v1",
        "shop.payment.captured.v1",
        "shop.order.confirmed.v1",
        "shop.inventory.stock_shipped.v1",
        "shop.email.sent.v1",
    ] {
        assert!(types.contains(&expected), "{expected} is not in {types:?}");
    }
}

#[tokio::test]
async fn one_trace_tells_the_whole_order_as_a_tree() {
    let world = World::start().await;
    world.stock("LAMP", 1_250, 10).await;
    let order = world.place(0, "LAMP", 1, "pm_ok").await;
    let trace_id = world.ended(order).await["trace_id"].as_str().unwrap().to_owned();

    // The last thing to happen is that audit hears of the mail.
    let last = "process events:email.sent.v1:audit.in";
    let complete = |spans: &[SpanRecord]| spans.iter().any(|span| span.name == last);
    world.traces.wait_for(&trace_id, SOON, complete).await.unwrap();
    world.quiet().await;
    let tree = TraceTree::build(world.traces.trace(&trace_id));
    let shown = tree.render();

    assert_eq!(tree.roots().len(), 1, "{shown}");
    assert!(tree.missing_parents().is_empty(), "{shown}");
    let root = tree.root().unwrap();
    assert_eq!((root.name.as_str(), root.kind), ("POST /orders", SpanKind::Server));
    for service in SERVICES {
        assert!(tree.services().contains(service), "{service} is missing:\n{shown}");
    }
    let path = [
        ("order", "POST /orders"),
        ("order", "create events:order.placed.v1"),
        ("inventory", "process events:order.placed.v1:inventory.in"),
        ("inventory", "create events:inventory.stock_reserved.v1"),
        ("payment", "process events:inventory.stock_reserved.v1:payment.in"),
        ("payment", "charge"),
        ("payment", "create events:payment.captured.v1"),
        ("order", "process events:payment.captured.v1:order.in"),
        ("order", "create events:order.confirmed.v1"),
        ("email", "process events:order.confirmed.v1:email.in"),
    ];
    for pair in path.windows(2) {
        let child = tree.find(pair[1].0, pair[1].1);
        assert_eq!(child.len(), 1, "{} once:\n{shown}", pair[1].1);
        let parent = tree.parent(child[0]).unwrap();
        assert_eq!((&*parent.service, parent.name.as_str()), pair[0], "{shown}");
    }
    every_message_is_handled_below_its_creation(&tree);
    let address = format!("{:?}", tree.spans().iter().map(|s| &s.attributes).collect::<Vec<_>>());
    assert!(!address.contains("@example.com"), "a customer's address is in the trace");
}

fn every_message_is_handled_below_its_creation(tree: &TraceTree) {
    let shown = tree.render();
    for process in tree.spans().iter().filter(|span| span.name.starts_with("process ")) {
        let creation = tree.parent(process).unwrap();
        assert!(
            creation.name.starts_with("create ") && creation.kind == SpanKind::Producer,
            "{shown}"
        );
        assert_eq!(process.links.len(), 1, "{} is linked to its creation", process.name);
        assert_eq!(process.links[0].span_id, creation.span_id);
        let publish: Vec<_> = tree
            .children(&creation.span_id)
            .into_iter()
            .filter(|span| span.name.starts_with("publish "))
            .collect();
        assert_eq!(publish.len(), 1, "{} was published once:\n{shown}", creation.name);
        // The wait in the outbox is the stretch between the two.
        assert!(publish[0].start_ns >= creation.end_ns, "{shown}");
        assert!(publish[0].attributes.contains_key("tidings.outbox.wait_ms"));
    }
}
