//! The conformance suite of the drivers: the same facts for each, against real podman, real docker and real
//! processes. What a
//! driver does not declare it has to refuse.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "conformance/bench.rs"]
mod bench;
#[path = "conformance/docker.rs"]
mod docker;
#[path = "conformance/dockerd.rs"]
mod dockerd;
#[path = "conformance/facts.rs"]
mod facts;
#[path = "conformance/fields.rs"]
mod fields;
#[path = "conformance/hand.rs"]
mod hand;
#[path = "conformance/image.rs"]
mod image;
#[path = "conformance/podman.rs"]
mod podman;
#[path = "conformance/process.rs"]
mod process;
#[path = "conformance/undo.rs"]
mod undo;
#[path = "conformance/views.rs"]
mod views;

macro_rules! facts {
    ($bench:ident: $($module:ident::$fact:ident)*) => {
        $(#[tokio::test]
        async fn $fact() {
            crate::$module::$fact(&crate::bench::Bench::$bench()).await;
        })*
    };
}

macro_rules! conformance {
    (
        every kind of program { $($any:ident::$done:ident)* }
        every driver { $($all:ident::$fact:ident)* }
        every engine { $($engine:ident::$typed:ident)* }
    ) => {
        mod with_podman {
            facts! { podman: $($any::$done)* $($all::$fact)* $($engine::$typed)* }
        }
        mod with_docker {
            facts! { docker: $($any::$done)* $($all::$fact)* $($engine::$typed)* }
        }
        mod with_processes {
            facts! { process: $($any::$done)* $($all::$fact)* }
        }
        mod with_confined_processes {
            facts! { confined: $($any::$done)* }
        }
    };
}

conformance! {
    every kind of program {
    facts::a_second_ensure_changes_nothing
    facts::a_glance_sees_what_has_started_and_ended
    facts::a_stopped_container_is_started_again
    facts::repeated_calls_succeed
    facts::a_replacement_cut_off_anywhere_is_completed
    facts::output_is_recorded_line_by_line
    facts::new_output_is_followed
    facts::programs_run_inside
    facts::the_stop_signal_arrives
    facts::what_ignores_its_stop_signal_is_killed
    facts::a_killed_program_is_restarted_by_its_policy
    facts::an_early_exit_is_an_error_with_the_last_lines
    facts::a_missing_program_is_named
    facts::an_occupied_port_names_its_holder
    facts::secrets_arrive_as_files_and_nowhere_else
    facts::a_program_inside_can_be_talked_to
    facts::a_program_inside_gets_a_terminal
    facts::what_it_uses_is_measured
    facts::calls_on_nothing_are_coded_errors
    }
    every driver {
    facts::what_is_paused_stands_still_until_it_is_started
    fields::programs_and_environments_changed_by_hand_are_repaired
    fields::mounts_and_secrets_changed_by_hand_are_repaired
    fields::networks_and_ports_changed_by_hand_are_repaired
    fields::limits_and_privileges_changed_by_hand_are_repaired
    fields::lifecycle_fields_changed_by_hand_are_repaired
    undo::what_was_replaced_comes_back_field_by_field
    undo::what_was_removed_comes_back_and_what_was_made_goes_away
    undo::what_was_stopped_runs_again_and_the_other_way_round
    undo::an_undo_cut_off_anywhere_is_completed
    undo::a_secret_whose_old_value_is_gone_is_named
    }
    every engine {
    hand::a_container_typed_like_its_spec_is_right
    hand::a_container_of_somebody_else_is_described_as_it_runs
    hand::typed_programs_and_environments_are_repaired
    hand::typed_mounts_networks_and_ports_are_repaired
    hand::typed_limits_and_privileges_are_repaired
    hand::typed_lifecycles_are_repaired
    hand::states_changed_by_hand_are_repaired
    hand::networks_joined_and_left_by_hand_are_repaired
    hand::a_secret_that_left_the_memory_is_repaired
    undo::an_image_that_is_gone_is_named
    undo::what_somebody_else_made_is_left_alone
    }
}
