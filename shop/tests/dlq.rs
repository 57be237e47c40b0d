//! The program `shop dlq` over real services with dead letters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod dlq_world;

use dlq_world::{SOON, World};
use serde_json::{Value, json};
use testkit::eventually;

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|one| one[field].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_in_groups_and_one_by_one_and_shown_with_all_that_is_known() {
    let world = World::with_parked(3).await;
    let groups = world.dlq(&["ls", "--groups"]).await;
    assert_eq!(groups.code, 0, "{groups:?}");
    let groups = groups.json();
    let names = texts(&groups["groups"], "group");
    assert_eq!(names, ["payment/rejected/order.noted.v1", "email/rejected/order.noted.v1"]);
    let group = &groups["groups"][0];
    assert_eq!((&group["letters"], &group["queue"]), (&json!(3), &json!("payment.in")));
    assert_eq!(group["example"], "the drawer is stuck");
    let table = world.shop(&["dlq", "ls", "--groups"]).await.out;
    assert!(table.contains("3  payment/rejected/order.noted.v1  payment.in  parked"), "{table}");

    for (filter, letters) in [
        (&["--service", "payment"][..], 3),
        (&["--service", "payment", "--service", "email"], 6),
        (&["--queue", "email.in"], 3),
        (&["--reason", "unsigned"], 0),
        (&["--type", "order.noted.v1", "--reason", "rejected"], 6),
        (&["--limit", "1"], 2),
    ] {
        let list = world.dlq(&[&["ls"], filter].concat()).await;
        assert_eq!(list.code, 0, "{list:?}");
        let list = list.json();
        assert_eq!(list["letters"].as_array().unwrap().len(), letters, "{filter:?}: {list}");
        assert_eq!(list["more"], letters == 2);
    }
    let none = world.shop(&["dlq", "ls", "--reason", "unsigned"]).await;
    assert_eq!((none.code, none.out.trim()), (0, "no dead letters"));

    is_shown_with_all_that_is_known(&world).await;
}

async fn is_shown_with_all_that_is_known(world: &World) {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    world.add_header("payment", "traceparent", traceparent).await;
    let id = world.ids("payment").await.remove(0);
    let letter = world.dlq(&["show", &id]).await.json();
    assert_eq!((&letter["service"], &letter["state"]), (&json!("payment"), &json!("parked")));
    assert_eq!(
        (&letter["reason"], &letter["attempts"]),
        (&json!("the drawer is stuck"), &json!(1))
    );
    assert_eq!(letter["properties"]["type"], "shop.order.noted.v1");
    assert_eq!(letter["body"]["subject"], letter["subject"]);
    assert_eq!(letter["trace_url"], "http://traces/trace/0af7651916cd43dd8448eb211c80319c");
    assert!(letter["headers"]["x-shop-sig"].is_string() && letter["history"] == json!([]));
    let raw = world.shop(&["dlq", "show", &id, "--raw"]).await;
    assert_eq!(serde_json::from_str::<Value>(&raw.out).unwrap(), letter["body"]);
    assert!(!raw.out.ends_with('\n'), "the exact bytes");
    let shown = world.shop(&["dlq", "show", &id]).await.out;
    for part in
        ["rejected\nthe drawer is stuck", "x-shop-sig", "\"aggversion\": 1", "order.noted.v1"]
    {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
    let unknown = world.dlq(&["show", "00000000-0000-7000-8000-000000000000"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_replayed_as_the_dry_run_said_and_again_what_failed_again() {
    let world = World::with_parked(4).await;
    let group = ["replay", "--group", "payment/rejected"];
    let plan = world.dlq(&[&group[..], &["--dry-run"]].concat()).await;
    assert_eq!(plan.code, 0, "{plan:?}");
    let plan = plan.json();
    assert_eq!(texts(&plan["would_replay"], "service"), ["payment"]);
    assert_eq!(plan["would_replay"][0]["letters"].as_array().unwrap().len(), 4);
    assert_eq!((world.parked("payment").await, plan["dry_run"].as_bool()), (4, Some(true)));

    // Nobody to ask, and nobody has said yes.
    let unasked = world.dlq(&group).await;
    assert_eq!((unasked.code, world.count("payment", "replay_job").await), (2, 0), "{unasked:?}");
    assert!(unasked.err.contains("Replay 4 dead letters at 50 per second?"), "{unasked:?}");

    let vain = world.dlq(&[&group[..], &["--yes", "--note", "let us see"]].concat()).await;
    assert_eq!(vain.code, 0, "they have gone: {vain:?}");
    eventually(SOON, || async { world.parked("payment").await == 4 }).await;
    let job = vain.json()["jobs"][0]["job"].as_str().unwrap().to_owned();
    let again = world.dlq(&["replay", "--status", &job]).await.json();
    assert_eq!(
        (&again["jobs"][0]["parked_again"], &again["jobs"][0]["state"]),
        (&json!(4), &json!("done"))
    );

    world.mend();
    let done = world.dlq(&[&group[..], &["--yes", "--rate", "1000"]].concat()).await;
    let answer = done.json();
    assert_eq!((done.code, &answer["jobs"][0]["replayed"]), (0, &json!(4)), "{answer}");
    assert_eq!(answer["jobs"][0]["asked_by"], "grace");
    eventually(SOON, || async { world.count("payment", "inbox").await == 4 }).await;
    assert_eq!((world.parked("payment").await, world.parked("email").await), (0, 4));
    let id = world.ids("payment").await.remove(0);
    let history = world.dlq(&["show", &id]).await.json();
    let what = texts(&history["history"], "what");
    assert_eq!(what, ["replay", "replayed", "replay", "replayed"]);
    assert_eq!(history["history"][0]["note"], "let us see");

    let rest = world.shop(&["dlq", "replay", "--all", "--yes"]).await;
    assert!(rest.code == 0 && rest.out.contains("email    done"), "{rest:?}");
    let nothing = world.shop(&["dlq", "replay", "--all", "--yes"]).await;
    assert_eq!((nothing.code, nothing.out.trim()), (0, "nothing to replay"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_of_each_letter_and_in_the_exit_code() {
    let world = World::with_parked(3).await;
    world.mend();
    let ids = world.ids("payment").await;
    let (stranger, reason) = ("00000000-0000-7000-8000-000000000000", ["--note", "forged"]);
    let unasked = world.dlq(&[&["discard", &ids[0]], &reason[..]].concat()).await;
    assert_eq!((unasked.code, world.parked("payment").await), (2, 3), "{unasked:?}");
    let silent = world.dlq(&["discard", &ids[0], "--yes"]).await;
    assert_eq!((silent.code, world.parked("payment").await), (2, 3), "why? {silent:?}");
    let discarded = world.dlq(&[&["discard", &ids[0], "--yes"], &reason[..]].concat()).await;
    assert_eq!(discarded.code, 0, "{discarded:?}");
    assert_eq!(texts(&discarded.json()["discarded"], "id"), [&ids[0]]);
    let again = world.dlq(&[&["discard", &ids[0], "--yes"], &reason[..]].concat()).await;
    assert_eq!(again.code, 1, "{again:?}");
    assert_eq!(texts(&again.json()["refused"], "reason"), ["decided meanwhile"]);

    let these = ["replay", &ids[0], &ids[1], stranger];
    let plan = world.dlq(&[&these[..], &["--dry-run"]].concat()).await;
    assert_eq!((plan.code, &plan.json()["unknown"]), (3, &json!([stranger])), "{plan:?}");
    let partly = world.dlq(&[&these[..], &["--yes"]].concat()).await;
    let answer = partly.json();
    assert_eq!((partly.code, &answer["unknown"]), (3, &json!([stranger])), "{answer}");
    let job = &answer["jobs"][0];
    assert_eq!((&job["replayed"], texts(&job["refused"], "id")), (&json!(1), vec![&*ids[0]]));
    let none = world.dlq(&["replay", &ids[0], "--yes"]).await;
    assert_eq!(none.code, 1, "{none:?}");
    for wrong in [
        &["replay"][..],
        &["replay", "--group", "payment"],
        &["replay", "--all", &ids[2]],
        &["replay", "--all", "--rate", "0"],
        &["replay", "--service", "payment"],
        &["ls", "--service", "nobody"],
        &["discard", "--note", "why not", "--yes"],
    ] {
        let said = world.dlq(wrong).await;
        assert_eq!(said.code, 2, "{wrong:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_for_its_service_can_be_cancelled_and_followed() {
    let mut world = World::with_parked(3).await;
    world.mend();
    world.stop().await;
    let group = ["replay", "--group", "email/rejected/order.noted.v1", "--yes"];
    let asked = world.dlq(&[&group[..], &["--no-wait"]].concat()).await;
    assert_eq!(asked.code, 0, "{asked:?}");
    let job = asked.json()["jobs"][0]["job"].as_str().unwrap().to_owned();
    let status = world.dlq(&["replay", "--status", &job]).await;
    assert_eq!((status.code, &status.json()["jobs"][0]["state"]), (3, &json!("running")));
    let busy = world.dlq(&["replay", &world.ids("email").await[0], "--yes", "--no-wait"]).await;
    assert_eq!(busy.code, 1, "{busy:?}");
    assert_eq!(texts(&busy.json()["jobs"][0]["refused"], "reason"), ["already being replayed"]);

    let cancelled = world.dlq(&["cancel", &job, "--yes", "--note", "not today"]).await;
    assert_eq!((cancelled.code, &cancelled.json()["jobs"][0]["cancelled"]), (0, &json!(3)));
    assert_eq!(world.parked("email").await, 3);
    let ended = world.dlq(&["cancel", &job, "--yes"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let unknown = world.dlq(&["cancel", "00000000-0000-7000-8000-000000000000", "--yes"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");

    let asked = world.dlq(&[&group[..], &["--no-wait"]].concat()).await.json();
    let job = asked["jobs"][0]["job"].as_str().unwrap().to_owned();
    // The program waits in a process of its own while the service comes back.
    let follow = ["dlq", "-o", "json", "replay", "--status", &job, "--follow"];
    let mut program = world.command(&follow);
    let followed = tokio::spawn(async move { program.output().await.unwrap() });
    world.run().await;
    let followed = followed.await.unwrap();
    let answer: Value = serde_json::from_slice(&followed.stdout).unwrap();
    assert_eq!((followed.status.code(), &answer["jobs"][0]["replayed"]), (Some(0), &json!(3)));
    eventually(SOON, || async { world.count("email", "inbox").await == 3 }).await;
}
