"""The steps that have a model trained, and its training explained, each in a process of its own.

The loop goes on meanwhile: labels come in, the budget is obeyed, other projects have their turn. Only the next round
waits, since the new model helps to choose it, unless the queue would run dry. A process that dies takes nothing along:
it is named on the project's page, the queue goes on with the champion, and the training is tried again; where a signal
ended it, without a fine-tune, which is what runs out of memory.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial

from sqlalchemy.exc import SQLAlchemyError
from threadpoolctl import threadpool_limits

from cdsel_backend.labelstudio.client import studio_at
from cdsel_backend.labelstudio.errors import LabelStudioError
from cdsel_backend.logs import start_log
from cdsel_backend.pool.decode_journal import keep_journal
from cdsel_backend.pool.errors import BackboneError
from cdsel_backend.project.digests import digest_of
from cdsel_backend.project.sentences.models import few_labels
from cdsel_backend.reconcile.context import Context
from cdsel_backend.reconcile.deaths import forget_death, last_death, note_death
from cdsel_backend.reconcile.insight import explain
from cdsel_backend.reconcile.processes import End
from cdsel_backend.reconcile.training import train, training_due
from cdsel_backend.settings import ServerSettings
from cdsel_backend.store import LeaseLost, State, Store, faults
from cdsel_backend.store.activity import Activity, Request, Step
from cdsel_backend.store.leases import explaining_lease, renewing, training_lease
from cdsel_backend.training import ModelFormatError

log = logging.getLogger(__name__)

ORIGIN = "training"  # of its problems
NOTHING_NEW = "TRAINING_NOT_DUE"  # the action of an event that says why nothing was trained
FAILED = 3  # the status of a process that has noted itself what went wrong
AWAY = 4  # that of one whose database did not answer: its work is due again once that does
PARENT_SECONDS = 1.0  # between looks whether the worker is still there


def train_apart(context: Context, state: State) -> bool:
    """Start a training that is due, and see to one that has ended."""
    project = state.project.id
    end = context.trainings.take_end(project)
    if end is not None:
        (_note_explained if end.target is _explain else _note_end)(context, project, end)
        return True
    if context.trainings.running(project):
        return False
    requests = context.requests(state, Request.TRAIN)
    if not training_due(context, state):
        if requests and not state.changed_labels:
            sentence = (
                "Training was asked for, and no label is new: the same labels are never trained on twice."
            )
            payload = {"sentence": sentence}
            context.store.add_event(state.project.pool_project, NOTHING_NEW, payload, handled=True)
        context.store.handle_events(requests)
        if state.pushed:  # labels are to come
            context.trainings.keep_warm(_main)
        return False
    task = _task(state, requests)
    death = last_death(context.store, project)
    if death is not None and death.waits(task):
        return False
    name, holder = training_lease(project), context.trainings.holder
    if not context.store.take_lease(name, holder):
        return False  # another worker's process is at it
    if few := few_labels(state, len(state.labels)):
        log.warning("project %s: a training was asked for, though %s", state.project.pool_project, few)
    context.show(state, Activity(Step.TRAINING, 0, len(state.labels)))
    killed = death is not None and death.task == task and death.killed
    arguments = (context.server, state.project.studio_url, project, holder, killed, tuple(requests))
    context.trainings.start(project, task, _main, *arguments)
    return True


def explain_apart(context: Context, state: State) -> bool:
    """Start to compute the insight of the newest training, where that is still to be done."""
    project, training = state.project.id, state.unexplained
    if training is None or context.trainings.running(project):
        return False
    holder = context.trainings.holder
    if not context.store.take_lease(explaining_lease(project), holder):
        return False  # another worker's process is at it
    arguments = (context.server, state.project.studio_url, project, holder)
    context.trainings.start(project, str(training.number), _explain, *arguments)
    return True


def _note_explained(context: Context, project: int, end: End) -> None:
    """See to the end of a process that computed an insight. One that died, as where memory runs out, would die again:
    the training is recorded without an insight."""
    context.store.release_lease(explaining_lease(project), context.trainings.holder)
    if end.status not in (0, AWAY):
        log.warning("project %s: the insight of training %s cannot be computed", project, end.task)
        context.store.note_insight(project, int(end.task), None)


def _task(state: State, requests: Sequence[int]) -> str:
    """A digest of what a training is started for: the labels as they are, and the newest request."""
    return digest_of([sorted(state.labels.items()), max(requests, default=0)])


def _note_end(context: Context, project: int, end: End) -> None:
    context.store.release_lease(training_lease(project), context.trainings.holder)
    if end.status == 0:
        forget_death(context.store, project)
        context.store.note_problems(project, ORIGIN, [])
        return
    if end.status == AWAY:
        return
    killed, pause = end.status < 0, context.trainings.first_pause
    pause = note_death(context.store, project, end.task, killed=killed, first_pause=pause)
    if end.status != FAILED:
        cause = f"was killed by signal {-end.status}" if killed else f"ended with status {end.status}"
        if end.status == -signal.SIGKILL:
            cause += ", as the system does when memory runs out"
        sentence = (
            f"the training process {cause}; nothing is lost, the model before it serves, and the training is tried "
            f"again in {pause:.0f} s, or at once with new labels or at Start Training"
        )
        log.warning("project %s: %s", project, sentence)
        context.store.note_problems(project, ORIGIN, [sentence])


def _main(
    parent: int,
    server: ServerSettings,
    studio_url: str,
    project: int,
    holder: str,
    killed: bool,
    requests: Collection[int],
) -> None:
    """Run by a process that trains.

    `requests` are those that it answers: others may be about labels that are still to come.
    """
    _work(
        parent,
        server,
        studio_url,
        project,
        training_lease(project),
        holder,
        partial(train, killed=killed),
        ORIGIN,
        requests,
    )


def _explain(parent: int, server: ServerSettings, studio_url: str, project: int, holder: str) -> None:
    """Run by a process that computes an insight."""
    _work(parent, server, studio_url, project, explaining_lease(project), holder, explain, None)


def _work(
    parent: int,
    server: ServerSettings,
    studio_url: str,
    project: int,
    name: str,
    holder: str,
    work: Callable[[Context, State], bool],
    origin: str | None,
    requests: Collection[int] = (),
) -> None:
    """Do a piece of work on a project under the lease `name`, which the worker `parent` took as `holder`.

    What goes wrong is logged, and noted as a problem of `origin`.

    Raises:
        SystemExit: with the status `FAILED`, where it failed, or `AWAY`, where the database did not answer.
    """
    start_log(server.log_format)
    keep_journal(server.data_dir)  # a fine-tune decodes images
    try:
        with (
            closing(Store.open(server)) as store,
            _ending_with(parent, store, name, holder),
            renewing(store, name, holder),
            threadpool_limits(1, user_api="blas"),
        ):

            def step() -> None:
                context = Context(store.under(name, holder), server, studio_at(server, studio_url))
                context.looked[project] = frozenset(requests)
                work(context, context.read_state(project))

            problem = _problem_of(step, project)
            if problem is None:
                store.release_lease(name, holder)  # any worker may go on
                return
            if problem and origin is not None:
                store.note_problems(project, origin, [problem])
    except faults.DATABASE as fault:
        log.warning("project %s: %s", project, faults.sentence(fault))
        raise SystemExit(AWAY) from None
    raise SystemExit(FAILED)


def _problem_of(step: Callable[[], None], project: int) -> str | None:
    """Take a step; returns the sentence on what went wrong, None where nothing did, "" where the lease was lost."""
    try:
        step()
    except LeaseLost as fault:
        log.warning("project %s: %s", project, fault)
        return ""
    except (LabelStudioError, BackboneError, ModelFormatError) as fault:
        log.warning("project %s: %s", project, fault)
        return f"the training failed: {fault}"
    except faults.DATABASE:
        raise
    except Exception as fault:
        reason = faults.sentence(fault)
        log.error(
            "project %s: the training process failed: %s", project, reason, exc_info=faults.trace(fault)
        )
        return f"the training failed: {reason}"
    return None


@contextmanager
def _ending_with(parent: int, store: Store, lease: str, holder: str) -> Iterator[None]:
    """End this process when the worker that started it is gone: nobody would look at its end."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PARENT_SECONDS):
            if os.getppid() != parent:
                with suppress(SQLAlchemyError):  # it ends by itself
                    store.release_lease(lease, holder)
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
