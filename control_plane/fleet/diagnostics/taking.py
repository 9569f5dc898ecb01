"""What a stressful run takes from a card's service, and how that is given back. Each is one transaction.

What was taken stands in the run's own row, so that whoever ends the run, also another process after a crash,
gives back exactly that. A run that has ended takes nothing: nobody would give it back.
"""

from sqlmodel import Session

from control_plane.access import Duplicate
from control_plane.fleet.load_test import list_load_tests
from control_plane.fleet.orders import set_drained, want_model
from control_plane.store.diagnostic_tables import DiagnosticRun
from control_plane.store.tables import Agent, Deployment


def check_free(session: Session, agent_id: str) -> None:
    """Raises Duplicate where a load test has the card."""
    for found in list_load_tests(session, agent_id, 1):
        if found.row.ended_unix_ms is None:
            raise Duplicate(f"this card is under load: daalu loadtests show {found.row.id}")


def take_calls(session: Session, run_id: str) -> None:
    """From here on no new call is placed on the agent. Raises Unknown, and Invalid for a revoked agent."""
    row = session.get_one(DiagnosticRun, run_id)
    if row.ended_unix_ms is not None:
        return
    agent = session.get_one(Agent, row.agent_id)
    if not agent.drained:
        row.took_calls = True
        session.add(row)
    set_drained(session, agent_id=row.agent_id, drained=True, actor=row.actor)


def take_engine(session: Session, run_id: str) -> None:
    """From here on no model is wanted of it. Raises Unknown, and Invalid for a revoked agent."""
    row = session.get_one(DiagnosticRun, run_id)
    deployment = session.get(Deployment, row.agent_id)
    if row.ended_unix_ms is not None or deployment is None or deployment.model_id is None:
        return
    row.took_model_id = deployment.model_id
    want_model(session, agent_id=row.agent_id, model_id=None, actor=row.actor)
    row.took_model_unix_ms = deployment.changed_unix_ms
    session.add(row)


def give_back(session: Session, row: DiagnosticRun) -> None:
    """Unless somebody wanted another model, or none, of the agent meanwhile: then that holds."""
    agent = session.get_one(Agent, row.agent_id)
    if agent.revoked_unix_ms is not None:
        return
    deployment = session.get(Deployment, row.agent_id)
    untouched = deployment is not None and deployment.changed_unix_ms == row.took_model_unix_ms
    if row.took_model_id is not None and untouched:
        want_model(session, agent_id=row.agent_id, model_id=row.took_model_id, actor=row.actor)
    if row.took_calls:
        set_drained(session, agent_id=row.agent_id, drained=False, actor=row.actor)
