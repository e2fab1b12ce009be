"""The rows of the fault matrix: what is done, how many at a commit (F) and in a long run (N), what passes, and which tests do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A fault.

    Parameters
    ----------
    id
        Its name in the table.
    fault
        What is done.
    passes
        What has to hold then.
    asked
        Faults to try, by lane.
    tests
        Tests that try it, as pytest takes them; none: it is not built.
    """

    id: str
    fault: str
    passes: str
    asked: Mapping[str, int]
    tests: tuple[str, ...]


def _row(id: str, fault: str, asked: tuple[int, int], passes: str, tests: str) -> Row:  # noqa: A002 - the row's
    """Make a row; tests: lines of a file, then the ends of its tests' names behind ``test_``."""
    names = []
    for line in tests.splitlines():
        file, *ends = line.split()
        names += [f"tests/{file}.py::test_{end}" for end in ends]
    return Row(id=id, fault=fault, passes=passes, asked=dict(zip("FN", asked, strict=True)), tests=tuple(names))


SAME = "a resumed run ends in the bytes of one that went through; nothing is ever half there under a final name"
TOLD = "an error that says where, what and how to go on, or a documented policy; no traceback"

ROWS = (
    _row(
        "A1",
        "SIGKILL before every step in the file system: opens, half writes, flushes, renames, removals; new run, overwrite, going on",
        (400, 2000),
        SAME,
        """presharding/test_presharding_faults a_kill_at_any_step_of_a_new_run_ends_in_the_same_bytes
presharding/test_presharding_faults a_kill_at_any_step_of_an_overwrite_ends_in_the_same_bytes
presharding/test_presharding_faults a_kill_at_any_step_of_going_on_after_a_kill_ends_in_the_same_bytes
presharding/test_presharding_faults a_kill_while_an_unfinished_run_is_overwritten_ends_in_the_same_bytes
presharding/test_presharding_faults a_writer_that_does_not_rename_is_found""",
    ),
    _row(
        "A2",
        "SIGKILL of the command and its workers at random times, again and again until it is done",
        (10, 200),
        SAME,
        """presharding/test_presharding_kills chains_of_kills_at_random_end_in_the_same_bytes
presharding/test_presharding_kills a_killed_run_goes_on_to_the_same_bytes a_run_killed_again_while_it_goes_on_ends_in_the_same_bytes
presharding/test_presharding_kills a_parent_killed_alone_takes_its_workers_along workers_that_are_killed_are_replaced""",
    ),
    _row(
        "A3",
        "SIGKILL at any step of going on after a SIGKILL at any step",
        (30, 200),
        SAME,
        """presharding/test_presharding_faults a_kill_at_any_step_of_going_on_after_a_kill_ends_in_the_same_bytes""",
    ),
    _row(
        "A4",
        "power lost after any step, what was not flushed lost in any combination (op log, replayed)",
        (500, 5000),
        "a manifest that is there lists what is there, byte for byte; the run goes on",
        """presharding/test_presharding_power a_manifest_that_outlives_a_power_cut_has_all_it_lists a_run_goes_on_after_a_power_cut
presharding/test_presharding_power a_run_without_one_of_its_flushes_is_found""",
    ),
    _row(
        "A5",
        "EIO, ENOSPC, EDQUOT, ESTALE, EINTR, EXDEV or EROFS at an open, write, flush, rename, removal or new folder",
        (60, 60),
        "a storage error that names the file and what to do; the run goes on to the same bytes, no orphan is left",
        """presharding/test_presharding_faults what_the_system_refuses_is_told_and_the_run_goes_on_later""",
    ),
    _row(
        "A6",
        "SIGINT, SIGTERM, SIGHUP at any moment; closed and full standard streams",
        (20, 20),
        "exit 130, 143, 129 or 141, no traceback, resumable",
        """presharding/test_presharding_kills a_signal_ends_the_run_with_its_code_and_the_run_goes_on_later
presharding/test_presharding_kills an_interrupt_at_any_moment_leaves_no_traceback
presharding/test_presharding_kills a_terminal_that_goes_away_ends_the_run_and_it_goes_on_later
cli/test_cli_ending a_signal_at_any_moment_of_the_start_ends_with_its_code the_first_signal_lets_a_working_command_clean_up
cli/test_cli_streams presharding_is_done_whatever_the_streams_are an_error_keeps_its_code_where_nobody_can_be_told""",
    ),
    _row(
        "B1",
        "every bit of a small shard flipped: its digest, the reader, and of `verify` each seventh (all in a long run)",
        (44_560, 44_560),
        "found by the digest, by `verify`; reading gives rows as written or none",
        """shard/test_corruption the_digest_finds_every_flipped_bit_of_a_shard a_flipped_bit_of_a_shard_never_gives_another_row
shard/test_corruption verify_fails_for_flipped_bits_of_a_shard
shard/test_corruption rows_that_no_checksum_guards_are_not_always_as_written a_verify_that_compares_no_digest_is_found""",
    ),
    _row(
        "B2",
        "every bit of manifest, receipt and plan flipped",
        (32_000, 32_000),
        "refused, or taken as written",
        """shard/test_corruption every_bit_of_the_manifest_is_guarded
presharding/test_presharding_state_fuzz no_flipped_bit_of_a_receipt_or_plan_is_taken""",
    ),
    _row(
        "B3",
        "random bits of a large shard flipped (64 MiB in a long run)",
        (100, 1000),
        "found as its batch is first touched; the others are read",
        """shard/test_corruption a_flipped_bit_of_a_large_shard_costs_its_batch_alone""",
    ),
    _row(
        "B4",
        "a shard and a manifest cut at every length, 1 to 64 bytes appended, a shard doubled",
        (5635, 5635),
        "refused",
        """shard/test_corruption a_shard_cut_at_any_length_is_refused any_few_bytes_after_the_end_are_refused
shard/test_corruption bytes_after_the_end_are_refused a_manifest_cut_at_any_length_is_refused
shard/test_corruption a_reader_that_compares_no_size_is_found""",
    ),
    _row(
        "B5",
        "blocks of 4 KiB zeroed, swapped, or as they were before",
        (90, 500),
        "found by the digest; reading gives rows as written or none",
        """shard/test_corruption a_block_that_was_lost_is_found""",
    ),
    _row(
        "B6",
        "shards missing, extra, renamed, swapped, doubled, of another run or split, links, pipes, folders",
        (15, 15),
        "told, each under its own name; sound ones are not accused",
        """shard/test_corruption shards_that_are_not_the_manifests_are_found sound_shards_beside_a_damaged_one_are_not_accused
shard/test_corruption a_sound_shard_of_other_rows_and_the_same_size_is_refused_where_it_is_opened""",
    ),
    _row(
        "B7",
        "a file shrinks while it is read: under a worker process that has it mapped, and without maps",
        (10, 10),
        "the parent names the file; without maps, what was read stays, or an error names the shard",
        """loading/test_loading_cuts a_worker_that_a_cut_ends_is_told_with_the_shards_that_were_cut
loading/test_loading_cuts what_was_read_without_maps_outlives_a_cut a_cut_of_what_is_read_without_maps_is_told_by_the_shards_name
train/test_train_stopping without_maps_a_run_whose_shard_is_cut_names_it
shard/test_corruption verify_is_not_ended_by_a_cut_of_what_it_reads
engines/test_engines_local a_worker_that_a_cut_of_its_input_ends_is_tried_again_and_names_the_input""",
    ),
    _row(
        "C1",
        "malformed text: invalid UTF-8 of each kind, NUL, BOM, line ends, empty, blank, without end",
        (25, 25),
        TOLD,
        """cli/test_cli_odd_input odd_text_is_read_as_the_same_documents bad_data_ends_with_5_and_one_line
corpus/test_corpus_text invalid_utf8_is_told_with_the_line_of_the_file only_the_document_that_is_not_utf8_is_left_out
corpus/test_corpus_text odd_but_lawful_bytes_are_accepted
corpus/test_corpus_encoding what_cannot_be_decoded_is_told_with_its_line_or_left_out
corpus/test_corpus_limit of_a_document_without_end_little_is_held ten_gigabytes_in_one_line_are_refused_at_once
corpus/test_corpus_text a_reader_that_takes_bytes_for_text_is_found""",
    ),
    _row(
        "C2",
        "malformed JSON lines: bad JSON, fields missing, null, of other types, NaN, deep, doubled keys",
        (20, 20),
        TOLD,
        """corpus/test_corpus_jsonl errors_name_the_line_and_say_why a_line_that_is_no_object_stays_bad_whatever_its_fields
corpus/test_corpus_jsonl a_field_that_nobody_asked_for_costs_no_document deep_nesting_is_read_past
corpus/test_corpus_jsonl ranges_that_do_not_fit_are_errors_or_skipped a_kept_value_of_another_type_is_an_error
corpus/test_corpus_jsonl a_reader_that_counts_no_objects_is_found a_reader_that_holds_no_range_against_its_text_is_found""",
    ),
    _row(
        "C3",
        "malformed compressed and columnar files, and any file damaged at random",
        (120, 12_000),
        "an error of ours, or documents left out and counted; bounded seconds and memory",
        """corpus/test_corpus_compressed what_gzip_itself_refuses_is_refused a_checksum_that_differs_is_damage
corpus/test_corpus_columnar files_that_are_not_what_their_name_says_are_refused offsets_that_lie_are_refused_before_they_are_used
corpus/test_corpus_columnar columns_that_are_missing_or_of_another_type_are_refused
corpus/test_corpus_columnar rows_that_no_buffer_holds_are_refused_where_a_file_is_divided_and_read
corpus/test_corpus_columnar flipped_bytes_never_do_worse_than_an_error_of_ours
corpus/test_corpus_columnar_limit a_compressed_batch_without_measure_is_refused_before_it_grows
corpus/test_corpus_fuzz many_damaged_inputs_are_refused_or_counted
corpus/test_corpus_compressed a_reader_that_takes_the_half_of_a_stream_is_found
corpus/test_corpus_columnar a_reader_that_checks_no_offsets_is_found""",
    ),
    _row(
        "C4",
        "vocabularies and configurations that cannot be used",
        (30, 30),
        "exit 2, one line, the nearest name",
        """test_vocab a_file_that_cannot_be_used_is_refused a_tokenizer_json_that_cannot_be_used_is_refused
test_config a_bad_value_is_refused_with_what_to_give a_file_that_cannot_be_used_is_refused
test_options a_value_of_another_type_is_refused_alike_at_every_door a_value_out_of_range_is_refused_alike_at_every_door
test_vocab a_vocabulary_that_nobody_looks_at_is_found""",
    ),
    _row(
        "C5",
        "odd documents: one token, only unknown or control characters, nothing maskable, long words, markers in the text",
        (20, 20),
        "every invariant of a row holds",
        """shard/test_invariants masked_rows_keep_every_invariant a_broken_invariant_is_named_with_its_row
presharding/test_presharding_datasets documents_without_tokens_are_counted a_word_longer_than_a_sequence_is_counted
presharding/test_presharding_datasets a_run_that_keeps_documents_of_any_length_is_found""",
    ),
    _row(
        "D1",
        "datasets whose manifest or folder leads elsewhere: paths, links, pipes, devices, other values, digests right",
        (40, 40),
        "refused; Python opens, lists and runs nothing outside of the folder (audit hook)",
        """shard/test_corruption a_hostile_manifest_is_refused_and_opens_nothing_outside links_lead_nowhere a_manifest_is_a_plain_file
shard/test_corruption a_reader_that_follows_links_is_found
test_places no_name_leads_outside a_place_that_takes_any_name_is_found""",
    ),
    _row(
        "D2",
        "Arrow files whose digests are right: other types, views, extensions with a pickle, lying offsets and framing, bombs",
        (40, 40),
        "refused before a kernel is entered or anything is unpacked; bounded memory",
        """shard/test_corruption other_schemas_are_refused compressed_batches_are_refused a_bomb_is_refused_before_it_unpacks
shard/test_corruption offsets_that_lie_never_reach_a_kernel ids_outside_the_vocabulary_never_reach_a_kernel
shard/test_corruption a_null_is_refused a_null_in_a_list_is_refused batches_of_other_sizes_are_refused
shard/test_corruption a_reader_that_checks_no_offsets_is_found
shard/test_manifest_fuzz rows_that_no_file_holds_are_refused_before_anything_is_allocated""",
    ),
    _row(
        "D3",
        "what is no manifest, or one in other words: deep, huge, doubled keys, NaN, not UTF-8",
        (15, 15),
        "refused; at most 64 MiB are read",
        """shard/test_corruption what_is_no_manifest_is_refused a_manifest_in_other_words_is_refused a_huge_manifest_is_not_read
shard/test_corruption a_reader_that_takes_other_words_is_found""",
    ),
    _row(
        "D4",
        "any value at any place of manifest, plan and receipts, numbers of a shard's framing, digests made anew",
        (2000, 18_000),
        "rows, or an error of ours, from every reader",
        """shard/test_manifest_fuzz some_values_put_into_a_manifest_are_read_or_refused any_value_put_into_a_manifest_is_read_or_refused
shard/test_manifest_fuzz numbers_in_a_shards_own_framing_are_read_or_refused
presharding/test_presharding_state_fuzz a_run_goes_on_from_some_changed_state_or_refuses
presharding/test_presharding_state_fuzz the_unit_of_an_impossible_receipt_is_done_again a_receipt_that_nobody_looks_at_is_found""",
    ),
    _row(
        "D5",
        "eval, exec, pickles, YAML, shells in the sources",
        (13, 13),
        "none but two named pickles between own processes and of the user's own cache, and torch's weights-only loader in one place",
        """test_security no_source_runs_what_it_reads each_way_to_run_what_is_read_is_found""",
    ),
    _row(
        "E1",
        "disks of twenty sizes and full from a share on, files that may not grow, too little room at the start",
        (20, 20),
        "exit 4; the same command goes on once there is room",
        """cli/test_cli_storage a_full_output_ends_with_4_and_the_same_command_goes_on
cli/test_cli_storage a_file_that_may_not_grow_ends_with_4_and_the_same_command_goes_on
cli/test_cli_surroundings a_disk_of_any_size_holds_nothing_half_and_the_run_goes_on_when_it_is_larger
presharding/test_presharding_space a_run_that_cannot_fit_is_refused_before_it_begins_and_leaves_nothing
presharding/test_presharding_space a_run_that_looks_for_no_room_is_found
presharding/test_presharding_faults a_full_disk_under_a_writer_that_does_not_rename_is_found""",
    ),
    _row(
        "E2",
        "read-only places and inputs, no home, modes, missing permissions, few descriptors, no terminal",
        (15, 15),
        "exit 4 or no difference",
        """cli/test_cli_storage a_read_only_output_ends_with_4 an_input_that_may_not_be_read_ends_with_4 an_output_below_a_file_ends_with_4
cli/test_cli_surroundings without_a_home_or_a_place_for_temporary_files_modes_follow_the_umask
cli/test_cli_surroundings inputs_on_a_read_only_disk_are_read_and_nothing_is_written_there
cli/test_cli_streams too_few_file_descriptors_end_with_4_or_do_not_matter
cli/test_cli_descriptors every_command_with_few_descriptors a_run_that_ended_for_want_of_descriptors_goes_on_as_it_was_told
cli/test_cli_storage a_refusal_that_nobody_takes_for_one_is_found""",
    ),
    _row(
        "E3",
        "kernel caches damaged, read-only, of others, cold in several processes at once",
        (10, 10),
        "healed, or done without after one warning; no flipped bit is run",
        """kernels/test_kernels_cache a_damaged_file_heals no_flipped_bit_is_ever_run
kernels/test_kernels_cache a_folder_that_others_can_write_is_refused_with_one_warning a_read_only_cache_is_done_without_after_one_warning
kernels/test_kernels_cache a_cache_that_cannot_be_written_is_done_without_after_one_warning cold_processes_at_once_all_succeed
kernels/test_kernels_cache a_cache_that_compares_no_digest_is_found""",
    ),
    _row(
        "F1",
        "8 writers of the same names, SIGKILL among them (200 in a long run), a reader that hashes",
        (800, 4000),
        "no read is bad",
        """test_storage_races no_reader_ever_sees_a_part_of_a_file writers_that_do_not_rename_are_found""",
    ),
    _row(
        "F2",
        "three commands at once on one folder, of one configuration or two",
        (4, 30),
        "one whole dataset; the others go on from it or end with 2",
        """presharding/test_presharding_resume processes_racing_for_one_folder_leave_one_whole_dataset
presharding/test_presharding_resume a_second_process_on_the_same_folder_is_refused a_run_that_locks_nothing_is_found""",
    ),
    _row(
        "G1",
        "Dask: a worker of a real cluster killed",
        (3, 20),
        "the bytes of a local run; no more is done again than was under way",
        """engines/test_engines_dask a_worker_that_is_killed_costs_what_it_had_and_no_more
engines/test_engines_dask units_of_a_dead_worker_that_nobody_takes_back_are_found""",
    ),
    _row(
        "G2",
        "Dask: scheduler killed, workers that hang, take too much memory or die of their unit",
        (8, 8),
        "poison is given up after three tries, all else is done",
        """engines/test_engines_dask a_poison_unit_is_given_up_after_three_tries_and_no_other_with_it
engines/test_engines_dask a_worker_that_takes_too_much_memory_is_replaced a_worker_that_stands_still_holds_nothing_up
engines/test_engines_dask a_scheduler_that_dies_ends_the_run_with_what_to_do a_long_unit_is_given_time_by_its_size
engines/test_engines_dask a_worker_that_joins_late_works_and_a_run_without_workers_says_so
engines/test_engines_dask workers_of_another_version_are_refused_before_any_unit_runs an_error_of_a_unit_ends_the_run_as_it_was_raised
engines/test_engines_dask a_poison_unit_that_is_never_given_up_is_found""",
    ),
    _row(
        "G3",
        "tasks of a plan in any order, twice at once, some missing",
        (20, 20),
        "the same bytes; what is missing is named",
        """presharding/test_presharding_tasks tasks_in_any_order_and_a_run_that_ends_them_write_the_bytes_of_one_run
presharding/test_presharding_tasks one_that_runs_alone_and_those_that_share_keep_each_other_out
presharding/test_presharding_tasks a_task_whose_input_changed_meanwhile_is_not_done a_damaged_plan_is_told
presharding/test_presharding_array any_number_of_tasks_in_any_order_writes_the_bytes_of_one_run two_at_once_on_one_number_write_the_same
presharding/test_presharding_array a_lost_task_is_named_with_the_command_that_runs_just_that what_was_damaged_since_is_named_and_made_again
presharding/test_presharding_array a_task_that_was_killed_is_run_again_by_its_number
presharding/test_presharding_tasks a_task_that_looks_at_no_input_again_is_found""",
    ),
    _row("G4", "Ray", (0, 5), "as G1", ""),
    _row(
        "H1",
        "an object store that answers 500 and 503, resets, cuts, flips, is slow, refuses, expires, is raced",
        (40, 40),
        "bounded tries; no object is there in part, no upload is left",
        """test_remote a_read_is_asked_for_again_four_times a_write_is_tried_again_and_never_half_there what_does_not_pass_is_told_at_once
test_remote a_name_whose_answer_was_lost_is_ours_if_it_has_our_bytes uploads_that_nobody_ended_are_abandoned_below_the_prefix
test_remote what_is_not_there_is_a_path_to_mend a_store_that_is_gone_is_told a_pinned_object_is_read_or_refused
presharding/test_presharding_remote a_run_that_a_store_ended_goes_on_and_does_nothing_twice what_is_gone_from_the_store_is_made_again
presharding/test_presharding_remote a_store_that_stumbles_at_random_changes_no_byte no_object_is_ever_there_in_part
presharding/test_presharding_remote a_run_that_another_of_the_same_plan_overtakes_ends_well two_plans_at_once_one_of_them_is_refused
presharding/test_presharding_remote expired_credentials_are_told_at_once no_credential_is_written_or_told a_killed_command_goes_on
presharding/test_presharding_remote every_fault_at_every_step_is_lived_through_or_told without_one_put_a_shard_a_half_is_seen
presharding/test_presharding_remote without_more_tries_a_stumble_ends_the_run""",
    ),
    _row(
        "H2",
        "80 staggered readers and 8 cold processes through one cache, shards flipped, cut, reset; copies damaged",
        (88, 88),
        "no read is bad; each object is fetched once, or told by name",
        """loading/test_loading_urls eight_cold_processes_at_once_read_nothing_wrong_and_fetch_each_object_once
loading/test_loading_urls eighty_staggered_readers_of_one_cache_under_faults_read_nothing_wrong
loading/test_loading_urls a_shard_that_comes_wrong_is_asked_for_again a_copy_that_is_damaged_is_fetched_again_or_told
loading/test_loading_urls a_shard_that_never_comes_right_is_refused_by_name_wherever_rows_are_drawn
shard/test_cache without_their_defences_wrong_bytes_are_kept_and_objects_are_fetched_by_each""",
    ),
    _row(
        "H3",
        "processes that used an object store",
        (2, 5),
        "gone within 5 s of their work",
        """presharding/test_presharding_remote the_process_is_gone_soon_after_the_last_request""",
    ),
    _row(
        "I1",
        "loaders that are stopped, saved, loaded, with other workers, worlds and batches, at random",
        (200, 2000),
        "each sample once an epoch, in the order of the reference",
        """loading/test_loading_state a_run_goes_on_whatever_happens_to_it a_long_run_goes_on_whatever_happens_to_it
loading/test_loading_state a_run_with_workers_goes_on_whatever_happens_to_it""",
    ),
    _row(
        "I2",
        "loaders resumed at random points of three epochs, by other worlds, batches and workers",
        (1000, 1000),
        "what comes next is the reference's",
        """loading/test_loading_state resuming_at_random_points_gives_what_comes_next
loading/test_loading_state resuming_at_a_thousand_points_gives_what_comes_next
loading/test_loading_state a_state_that_is_one_unit_behind_is_found""",
    ),
    _row(
        "I3",
        "engines, jobs, orders, kills, stores, hash seeds, time zones, locales, masks of modes, processors",
        (24, 24),
        "one digest",
        """presharding/test_presharding_determinism two_jobs_write_the_bytes_of_one any_order_of_units_writes_the_same_bytes
presharding/test_presharding_determinism the_environment_changes_no_byte
presharding/test_presharding_engines every_way_of_one_process_has_the_digest no_mask_zone_or_locale_moves_the_digest
presharding/test_presharding_engines an_object_store_has_the_digest every_command_has_the_digest a_dask_cluster_has_the_digest
presharding/test_presharding_engines a_killed_command_has_the_digest_whoever_ends_it a_changed_byte_anywhere_moves_the_digest""",
    ),
    _row(
        "I4",
        "datasets of every released format",
        (6, 6),
        "read as they were",
        """golden/test_format_1 rows_batches_and_exports_are_those_that_were_read_before a_dataset_of_format_1_is_verified
golden/test_golden_digests rows_and_masks_are_those_written_down""",
    ),
    _row(
        "K1",
        "span lengths, starts, shares and replacements of 10⁶ spans against their law; wrongs planted in the kernels",
        (20, 20),
        "the law is kept, and each wrong rejected",
        """test_auditing the_gates_pass_what_is_sound as_many_spans_as_asked_for starts_off_by_one_word_are_rejected
test_auditing lengths_of_another_law_are_rejected another_share_of_masks_is_rejected a_planted_wrong_draws_otherwise
test_auditing starts_that_never_reach_the_last_word_are_rejected""",
    ),
)
