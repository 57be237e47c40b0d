//! What is promised, what goes wrong, and who tries it.

/// A promise of the messaging kit.
pub(super) struct Promise {
    pub(super) id: &'static str,
    pub(super) words: &'static str,
    /// `file::test`.
    pub(super) tests: &'static [&'static str],
}

/// A row of the fault table.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) words: &'static str,
    /// `file::test`.
    pub(super) tests: &'static [&'static str],
    /// What of it nobody tries, and why.
    pub(super) missing: &'static str,
}

/// Where most of the kit's tests are.
pub(super) const KIT: &str = "shared/messaging/tests/promises/";

/// The tests in which the simulation finds each bug, in the order of the bugs.
pub(super) const SIMULATED: [&str; 5] = [
    "shared/messaging/tests/simulation/main.rs::an_acknowledgement_before_the_commit_is_found",
    "shared/messaging/tests/simulation/main.rs::confirms_taken_by_their_position_are_found",
    "shared/messaging/tests/simulation/main.rs::an_inbox_row_in_a_transaction_of_its_own_is_found",
    "shared/messaging/tests/simulation/main.rs::a_relay_that_never_looks_back_is_found",
    "shared/messaging/tests/simulation/main.rs::relays_that_share_an_aggregate_are_found",
];

macro_rules! rows {
    ($($id:literal, $words:literal, [$($test:literal),* $(,)?], $missing:literal;)+) => {
        &[$(Row { id: $id, words: $words, tests: &[$($test),*], missing: $missing }),+]
    };
}

pub(super) const PROMISES: &[Promise] = &[
    Promise {
        id: "P1",
        words: "An event is published if and only if the transaction that wrote it committed",
        tests: &[
            "atomicity.rs::an_event_that_one_service_commits_takes_effect_in_another",
            "atomicity.rs::a_transaction_that_is_dropped_or_fails_publishes_nothing",
        ],
    },
    Promise {
        id: "P2",
        words: "Effects, outgoing events and inbox row commit together; the acknowledgement comes after",
        tests: &[
            "atomicity.rs::effects_outgoing_events_and_the_inbox_row_commit_together_or_not_at_all",
            "atomicity.rs::a_crash_between_commit_and_acknowledgement_has_one_effect",
        ],
    },
    Promise {
        id: "P3",
        words: "At least once on the wire, exactly one effect in the database",
        tests: &[
            "once.rs::a_message_that_comes_many_times_in_one_chunk_and_across_chunks_has_one_effect",
            "once.rs::two_replicas_that_get_the_same_message_at_once_have_one_effect",
            "bounds.rs::an_inbox_that_would_forget_what_can_still_arrive_is_refused",
        ],
    },
    Promise {
        id: "P4",
        words: "A row counts as published only after the broker's own confirm for that message",
        tests: &[
            "publishing.rs::every_unroutable_event_of_a_mixed_batch_is_told_from_the_routable_ones",
            "publishing.rs::an_event_that_a_full_queue_refuses_stays_with_its_reason_and_leaves_when_there_is_room",
            "once.rs::a_confirm_that_is_lost_makes_a_second_message_with_the_same_id_and_one_effect",
        ],
    },
    Promise {
        id: "P5",
        words: "Events of one aggregate leave in version order",
        tests: &[
            "order.rs::many_versions_of_many_aggregates_leave_in_order",
            "order.rs::a_confirm_lost_in_the_middle_keeps_the_order_of_first_arrivals",
            "replicas.rs::two_relays_share_the_partitions_and_publish_each_event_once_and_in_order",
        ],
    },
    Promise {
        id: "P6",
        words: "No database transaction is open while the kit talks to the broker",
        tests: &["publishing.rs::no_transaction_is_open_while_the_relay_waits_for_the_broker"],
    },
    Promise {
        id: "P7",
        words: "A poison message never blocks those behind it, never spins, and is never lost",
        tests: &[
            "poison.rs::what_will_never_pass_is_parked_at_once_between_good_messages_that_all_pass",
            "poison.rs::a_parked_message_keeps_its_bytes_its_headers_and_its_reason",
        ],
    },
    Promise {
        id: "P8",
        words: "Broker or database away for any length of time needs no operator",
        tests: &[
            "private_outages.rs::a_broker_that_is_killed_twice_loses_nothing_and_work_goes_on_when_it_is_back",
            "private_outages.rs::a_database_that_is_killed_under_load_loses_nothing_and_spends_no_attempt",
        ],
    },
    Promise {
        id: "P9",
        words: "Nothing grows without bound",
        tests: &[
            "bounds.rs::a_consumer_holds_no_more_than_its_prefetch_however_much_waits",
            "bounds.rs::a_full_outbox_refuses_requests_and_nothing_that_is_under_way",
            "bounds.rs::published_rows_go_after_their_retention_and_pending_ones_never",
        ],
    },
];

pub(super) const FAULTS: &[Row] = rows! {
    "F1", "Broker killed between publish and confirm",
        ["once.rs::a_confirm_that_is_lost_makes_a_second_message_with_the_same_id_and_one_effect",
         "private_outages.rs::a_broker_that_is_killed_twice_loses_nothing_and_work_goes_on_when_it_is_back"], "";
    "F2", "A confirm is lost, the broker lives",
        ["once.rs::a_confirm_that_is_lost_makes_a_second_message_with_the_same_id_and_one_effect",
         "outages.rs::connections_that_are_cut_at_any_byte_lose_and_repeat_nothing"], "";
    "F3", "Broker restarts while messages are consumed",
        ["private_outages.rs::a_broker_that_is_killed_twice_loses_nothing_and_work_goes_on_when_it_is_back",
         "tests/e2e/crashes.rs::a_broker_that_is_killed_and_comes_back_delays_orders_and_loses_none"], "";
    "F4", "Broker flaps",
        ["outages.rs::connections_that_the_broker_closes_again_and_again_lose_and_repeat_nothing"],
        "its connections flap; the node itself is started twice in a test and more often under `make chaos`";
    "F5", "Broker down for ten minutes",
        ["long_outages.rs::a_broker_that_is_away_for_ten_minutes_costs_no_attempt_and_all_flows_when_it_is_back",
         "private_outages.rs::a_broker_that_is_killed_twice_loses_nothing_and_work_goes_on_when_it_is_back"],
        "the ten minutes are waited on demand, as `long_outages.rs` says; the other test waits for as long as a start takes";
    "F6", "Memory or disk alarm",
        ["private_outages.rs::a_memory_alarm_holds_back_the_relay_while_the_consumer_goes_on_settling",
         "copies.rs::copies_that_a_memory_alarm_holds_back_on_a_private_broker_are_in_nobodys_way"],
        "a disk alarm blocks by the same means and is not tried on its own";
    "F7", "A queue is full",
        ["publishing.rs::an_event_that_a_full_queue_refuses_stays_with_its_reason_and_leaves_when_there_is_room"], "";
    "F8", "An event that no queue wants",
        ["order.rs::a_version_that_could_leave_waits_for_the_one_before_that_cannot",
         "traces.rs::an_event_that_waits_for_its_route_shows_every_attempt"], "";
    "F9", "One unroutable event in a batch of two hundred",
        ["publishing.rs::one_unroutable_event_in_a_batch_of_two_hundred_stays_alone_and_leaves_when_it_is_bound"], "";
    "F10", "Exchange missing, queue deleted",
        ["publishing.rs::an_exchange_that_is_missing_is_reported_and_nothing_counts_as_published",
         "provisioning.rs::a_queue_that_is_deleted_under_its_consumer_is_reported_and_used_again_when_it_is_back"], "";
    "F11", "A handler that is stuck",
        ["poison.rs::what_hangs_panics_or_asks_too_much_of_the_database_does_not_hold_up_the_others",
         "chunks.rs::a_statement_that_outlasts_its_handler_holds_up_nobody"], "";
    "F12", "A network that swallows everything, or one direction",
        ["private_outages.rs::a_broker_that_freezes_is_noticed_and_no_transaction_stays_open_meanwhile",
         "connections.rs::a_peer_that_takes_connections_and_says_nothing_costs_no_socket_per_try"], "";
    "F13", "A slow network that breaks off at any byte",
        ["outages.rs::connections_that_are_cut_at_any_byte_lose_and_repeat_nothing"],
        "packets are not lost one by one: that needs a kernel module, and TCP hides it";
    "F14", "A cluster of three brokers is parted", [],
        "one node is what this system is shipped with; a cluster is another project";
    "F15", "Postgres restarts in the middle of transactions",
        ["private_outages.rs::a_database_that_is_killed_under_load_loses_nothing_and_spends_no_attempt",
         "private_outages.rs::a_relay_whose_database_is_killed_goes_on_by_itself"], "";
    "F16", "A commit whose answer is lost",
        ["outages.rs::sessions_that_the_database_ends_again_and_again_lose_nothing_and_spend_no_attempt",
         "chunks.rs::a_commit_that_the_database_answers_with_a_rollback_is_an_error"], "";
    "F17", "Postgres frozen, or no connection to be had",
        ["services/order/tests/place_order.rs::a_database_that_is_away_is_503_with_retry_after",
         "services/order/tests/bad_input_again.rs::a_database_that_is_away",
         "breaker.rs::what_a_handler_needs_and_is_away_stops_deliveries_and_spends_no_attempt"], "";
    "F18", "Serialization failures, deadlocks, lock waits",
        ["outages.rs::a_serialization_failure_is_tried_again_at_once_and_burns_no_rung",
         "chunks.rs::replicas_whose_chunks_lock_the_same_rows_never_wait_for_each_other_in_a_circle",
         "services/inventory/tests/reservations.rs::orders_of_the_same_goods_in_opposite_order_never_block_each_other_for_good"], "";
    "F19", "A session that is idle in its transaction", [],
        "the services' own sessions have a time-out for it; that somebody else's snapshot only delays pruning is not tried";
    "F20", "Database failover", [],
        "one server per service is what this system is shipped with; a standby is a profile to come";
    "F21", "Disk full", [],
        "not tried yet";
    "F22", "SIGKILL at every crash point, and at any time",
        ["outages.rs::services_that_crash_again_and_again_under_load_have_every_effect_once",
         "tests/e2e/crashes.rs::services_killed_one_after_the_other_lose_nothing_and_repeat_nothing",
         "services/payment/tests/cancellation.rs::the_payment_of_a_killed_process_is_taken_over_at_once_and_looked_up",
         "services/email/tests/delivery.rs::the_mail_of_a_killed_process_is_taken_over_at_once"], "";
    "F23", "A process is stopped, others take over, it goes on",
        ["replicas.rs::a_process_that_hangs_loses_its_partitions_when_its_leases_run_out"], "";
    "F24", "SIGTERM under load",
        ["outages.rs::services_that_stop_and_start_again_and_again_under_load_lose_and_repeat_nothing",
         "shared/chassis/tests/supervisor.rs::sigterm_and_sigint_stop_the_process_with_0"], "";
    "F25", "Every message delivered one to five times",
        ["once.rs::a_message_that_comes_many_times_in_one_chunk_and_across_chunks_has_one_effect"], "";
    "F26", "Messages out of order, and gaps",
        ["ordered_handlers.rs::a_version_that_comes_too_early_waits_on_the_ladder_and_is_applied_after_the_missing_one",
         "ordered_handlers.rs::a_gap_that_never_closes_is_parked_as_such"], "";
    "F27", "A duplicate after its inbox row is gone",
        ["bounds.rs::inbox_rows_go_after_their_retention_and_their_messages_are_then_too_old_to_be_believed"], "";
    "F28", "Poison between good messages",
        ["poison.rs::what_will_never_pass_is_parked_at_once_between_good_messages_that_all_pass",
         "bad_input/mod.rs::random_bytes_are_all_parked_and_none_is_lost"], "";
    "F29", "A message that ends the process",
        ["poison.rs::a_message_that_ends_the_process_each_time_is_given_up_by_the_broker_and_parked",
         "chunks.rs::a_message_that_ends_the_process_again_and_again_takes_no_innocent_one_along",
         "second_chances.rs::innocent_letters_take_effect_without_an_operator"], "";
    "F30", "A slow consumer and a burst",
        ["bounds.rs::a_consumer_holds_no_more_than_its_prefetch_however_much_waits",
         "bounds.rs::a_long_backlog_costs_no_more_than_the_rows_that_are_taken_from_it"], "";
    "F31", "The payment gateway fails",
        ["services/payment/tests/charging.rs::a_gateway_that_is_away_is_not_hammered_and_all_is_settled_when_it_is_back"], "";
    "F32", "Captured, and the reply is lost",
        ["services/payment/tests/charging.rs::a_lost_reply_is_looked_up_and_charges_once"], "";
    "F33", "The mail server cuts off, is busy, refuses",
        ["services/email/tests/delivery.rs::a_mail_cut_off_at_its_end_goes_out_again_under_the_same_message_id",
         "services/email/tests/delivery.rs::a_server_that_is_busy_is_asked_again",
         "services/email/tests/delivery.rs::a_mail_that_is_refused_for_good_fails_and_says_why_without_the_address"], "";
    "F34", "Time-out, cancellation and capture at once; more buyers than goods",
        ["tests/e2e/random.rs::orders_cancelled_at_random_moments_end_and_everything_adds_up",
         "services/inventory/tests/reservations.rs::forty_buyers_of_seven_pieces_get_seven",
         "services/payment/tests/cancellation.rs::a_cancellation_while_the_charge_is_under_way_gives_the_money_back"], "";
    "F35", "Clocks that are wrong",
        ["bad_input/mod.rs::what_is_too_old_or_from_the_future_is_parked_and_a_little_ahead_is_remarked",
         "replicas.rs::clocks_that_are_hours_apart_take_no_partition_from_anybody"],
        "a whole system with skewed clocks is not tried yet";
    "F36", "Two versions at once",
        ["contracts/tests/compatibility/released.rs::no_minor_version_of_an_event_breaks_an_earlier_one"],
        "contracts only: there is one version of the programs so far";
    "F37", "A queue that exists with other arguments",
        ["provisioning.rs::a_queue_with_other_arguments_is_reported_with_the_difference_and_left_alone"], "";
    "F38", "Wrong secrets",
        ["shared/chassis/tests/config.rs::every_mistake_is_named_in_one_message",
         "shared/chassis/tests/config.rs::debug_output_shows_no_secret"],
        "certificates come with TLS";
    "F39", "A right is taken away and given back",
        ["provisioning.rs::a_running_service_needs_no_right_to_configure"],
        "rights per service come with the security work";
    "F40", "Keys are changed under load",
        ["shared/envelope/tests/signature.rs::unknown_and_revoked_keys_are_told_apart"],
        "comes with the security work";
    "F41", "Dead letters replayed twice, at once, killed midway",
        ["replays.rs::replays_that_are_asked_for_at_once_are_one_replay",
         "replays.rs::a_replay_whose_process_dies_between_publish_and_mark_goes_on_and_repeats_no_effect",
         "replays.rs::a_replay_goes_on_at_another_replica_when_its_own_stops_or_dies",
         "tests/e2e/poison_release.rs::what_a_poison_release_has_parked_is_replayed_at_a_rate_and_survives_a_kill_midway"], "";
    "F42", "Two relays at once after a lease is lost",
        ["replicas.rs::a_process_that_hangs_loses_its_partitions_when_its_leases_run_out"], "";
    "F43", "The trace collector is down or slow",
        ["shared/chassis/tests/telemetry.rs::a_collector_that_is_down_costs_no_latency_and_the_end_is_bounded",
         "shared/chassis/tests/telemetry.rs::a_collector_that_never_answers_costs_no_latency_either"], "";
    "F44", "Any bytes",
        ["shared/envelope/tests/any_bytes.rs::any_bytes_are_judged",
         "services/order/tests/any_request.rs::whatever_is_taken_is_sound",
         "services/inventory/tests/import_bad_input.rs::whatever_is_sent_is_never_our_own_fault"], "";
};
