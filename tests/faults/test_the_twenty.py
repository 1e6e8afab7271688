"""The twenty faults, and where each is injected for real.

| # | fault | tests (of tests/) |
|---|---|---|
| 1 | kill -9 while a checkpoint is written | faults/test_kills.py: test_a_kill_at_any_write_leaves_nothing_half_written; faults/test_security.py: test_everything_is_written_through_one_door |
| 2 | kill -9 of training, then `dvc repro` | faults/test_kills.py: test_a_training_killed_three_times_ends_in_the_same_bytes; faults/test_repro_killed.py: test_killed_in_every_stage_on_its_way |
| 3 | `dvc` itself killed | faults/test_repro_killed.py: test_stopped_by_sigterm_in_its_training; faults/test_kills.py: test_a_trainer_ends_with_the_process_that_started_it; test_pipeline.py: test_killing_dvc_ends_the_training_too; cli/test_warm.py: test_a_fork_ends_with_the_stage_that_it_works_for; runtime/test_rwlock.py: test_a_half_written_list_stops_dvc_until_it_is_mended |
| 4 | SIGTERM, Ctrl-C | faults/test_kills.py: test_told_to_stop_it_checkpoints_and_a_second_trainer_is_refused; faults/test_ends.py: test_stopped_while_it_writes_it_leaves_nothing; faults/test_store.py: test_a_stopped_training_is_killed_in_the_store_until_it_goes_on; tracking/test_syncing.py: test_statuses |
| 5 | a second trainer | faults/test_kills.py: test_told_to_stop_it_checkpoints_and_a_second_trainer_is_refused |
| 6 | truncated, empty or foreign checkpoint | faults/test_damage.py: test_a_bad_checkpoint_is_named_and_the_older_one_used; training/test_loop.py: test_a_damaged_checkpoint_is_named_and_the_older_one_used, test_with_no_whole_checkpoint_it_starts_afresh_and_says_so |
| 7 | a flipped bit | faults/test_damage.py: test_a_flipped_bit_is_named_and_nothing_is_computed_from_it; training/test_loop.py: test_a_damaged_checkpoint_is_named_and_the_older_one_used |
| 8 | a pickle with code | faults/test_damage.py: test_a_pickle_is_refused_and_does_not_run, test_a_bad_checkpoint_is_named_and_the_older_one_used; evaluation/extractors/test_inception.py: test_a_pickle_with_code_is_refused_even_under_the_right_hash |
| 9 | disk full | faults/test_damage.py: test_a_full_disk_is_one_line_and_leaves_the_last_good_files; data/test_preprocess.py: test_a_full_disk_is_one_line_and_leaves_nothing_half_written |
| 10 | NaN or Inf | faults/test_inputs.py: test_a_number_that_is_none_stops_the_training_before_the_step; test_pipeline.py: test_a_version_that_diverges_is_reported_beside_the_others |
| 11 | collapsed generator | faults/test_inputs.py: test_a_collapsed_generator_is_measured_and_flagged |
| 12 | a bad download | data/test_fetch.py: test_a_bad_answer_is_one_clear_error_and_the_old_file_stands, test_a_whole_file_arrives_if_need_be_at_a_later_try, test_a_redirect_from_https_to_http_is_refused |
| 13 | hostile archive | faults/test_inputs.py: test_a_hostile_archive_is_refused_at_the_door; data/test_archives.py: test_refused, test_caps |
| 14 | bad pictures | faults/test_inputs.py: test_bad_pictures_are_listed_with_their_reasons_and_too_many_are_an_error; data/test_pictures.py: test_rejected_with_its_reason |
| 15 | bad config | faults/test_inputs.py: test_a_bad_setting_is_named_before_any_work; test_pipeline.py: test_a_wrong_parameter_is_named_before_anything_is_fetched |
| 16 | hostile names and texts | faults/test_security.py: test_a_hostile_name_is_refused_wherever_a_person_can_give_one, test_texts_are_escaped_where_they_are_shown; test_pipeline.py: test_a_hostile_version_name_never_reaches_a_shell |
| 17 | code, params or data edited during a run | faults/test_inputs.py: test_data_edited_under_a_training_fails_it, test_params_edited_between_two_stages_do_not_reach_the_second, test_a_plan_remade_under_a_training_fails_it_unless_it_is_the_same; test_pipeline.py: test_code_edited_under_a_training_fails_it |
| 18 | MLflow down, slow, locked, corrupt, read-only | faults/test_store.py: test_a_server_that_is_killed_hangs_and_comes_back_gets_every_point_once, test_a_training_spends_a_hundredth_of_its_time_on_a_store_that_hangs, test_a_store_that_begins_to_hang_at_the_end_costs_no_more; tracking/test_store.py: test_damaged, test_read_only, test_locked_by_another_program, test_dead_server, test_hanging_server |
| 19 | several processes open a fresh store | faults/test_store.py: test_eight_at_once_lose_nothing; tracking/test_store.py: test_four_processes_open_a_fresh_store_at_once, test_a_kill_while_the_store_is_made_leaves_none |
| 20 | a changed config; missing versions in the report | faults/test_kills.py: test_told_to_stop_it_checkpoints_and_a_second_trainer_is_refused; faults/test_inputs.py: test_the_report_says_what_is_missing_and_why |
"""  # noqa: E501

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROWS = re.findall(r"^\| (\d+) \| .+? \| (.+) \|$", __doc__ or "", flags=re.M)


def named_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_there_are_twenty() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 21))


@pytest.mark.parametrize(("number", "places"), ROWS)
def test_each_has_its_tests(number: str, places: str) -> None:
    for place in places.split("; "):
        file, names = place.split(": ")
        missing = set(names.split(", ")) - named_in(Path("tests") / file)
        assert not missing, f"fault {number}: tests/{file} has no {missing}"
