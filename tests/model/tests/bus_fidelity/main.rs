//! The server in memory beside the real nats-server: the same scenarios, and what comes out is compared word by word.
//!
//! Guarantee: what the simulator's bus stands on behaves as the real one in everything that these scenarios touch; where they differ, the
//! one in memory is wrong. Must not: sleep for luck; both are asked until they answer.

#![expect(clippy::unwrap_used, reason = "tests")]

mod appends;
mod consumers;
mod ground;
mod letters;
mod objects;
mod outages;
mod streams;
mod timers;

use ground::compare;

#[test]
fn appends_expect_what_they_read() {
    compare(async |ground| appends::expectations(ground).await);
}

#[test]
fn batches_are_all_or_nothing() {
    compare(async |ground| appends::batches(ground).await);
}

#[test]
fn batches_with_a_hole_are_refused() {
    compare(async |ground| appends::holes(ground).await);
}

#[test]
fn an_alert_is_stored_once() {
    compare(async |ground| appends::duplicates(ground).await);
}

#[test]
fn reads_find_the_same() {
    compare(async |ground| appends::reads(ground).await);
}

#[test]
fn a_full_stream_refuses() {
    compare(async |ground| streams::full(ground).await);
}

#[test]
fn streams_are_made_and_found() {
    compare(async |ground| streams::administration(ground).await);
}

#[test]
fn what_is_not_there_is_said_so() {
    compare(async |ground| streams::missing(ground).await);
}

#[test]
fn purges_take_away_what_they_name() {
    compare(async |ground| streams::purges(ground).await);
}

#[test]
fn objects_are_replaced_and_read() {
    compare(async |ground| objects::objects(ground).await);
}

#[test]
fn upkeep_sees_consumers_and_purges_below() {
    compare(async |ground| objects::upkeep(ground).await);
}

#[test]
fn deliveries_acks_and_naks() {
    compare(async |ground| consumers::deliveries(ground).await);
}

#[test]
fn what_is_not_acknowledged_comes_again_until_it_is_given_up() {
    compare(async |ground| consumers::redelivery(ground).await);
}

#[test]
fn pulls_end_and_show_signs_of_life() {
    compare(async |ground| consumers::pulls(ground).await);
}

#[test]
fn two_replicas_share_a_consumer() {
    compare(async |ground| consumers::replicas(ground).await);
}

#[test]
fn a_restart_keeps_what_was_acknowledged() {
    compare(async |ground| consumers::restart(ground).await);
}

#[test]
fn what_is_said_while_the_server_is_away_is_said_later() {
    compare(async |ground| outages::late(ground).await);
}

#[test]
fn ids_and_timers_outlive_the_server() {
    compare(async |ground| outages::memory(ground).await);
}

#[test]
fn timers_fire() {
    compare(async |ground| timers::firing(ground).await);
}

#[test]
fn dead_letters_are_kept_and_replayed() {
    compare(async |ground| letters::dead(ground).await);
}
