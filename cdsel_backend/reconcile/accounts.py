"""The step that asks Label Studio whose the numbers of accounts are, so that pages name annotators by their e-mail."""

from __future__ import annotations

from cdsel_backend.labelstudio.client import RequestRefused
from cdsel_backend.reconcile.context import Context
from cdsel_backend.store import State
from cdsel_backend.store.facts import ACCOUNTS_FACT


def name_annotators(context: Context, state: State) -> None:
    """Ask for the accounts where somebody labelled who is not known yet."""
    known = context.store.fact(ACCOUNTS_FACT) or {}
    strangers = {user for user in state.answers.annotator.texts if user} - known.keys()
    if not strangers:
        return
    try:
        users = read_accounts(context)
    except RequestRefused:  # pages go on with the number
        return
    # One that was removed from Label Studio is not asked for again.
    gone = dict.fromkeys(strangers - {str(number) for number in users.values()})
    if gone:
        context.store.set_fact(ACCOUNTS_FACT, context.store.fact(ACCOUNTS_FACT) | gone)


def read_accounts(context: Context) -> dict[str, int]:
    """The accounts of Label Studio, e-mail to number, kept for the pages as well."""
    users = context.studio.users()
    known = context.store.fact(ACCOUNTS_FACT) or {}
    named = known | {str(number): email for email, number in users.items()}
    if named != known:
        context.store.set_fact(ACCOUNTS_FACT, named)
    return users
