"""What is the matter with a control plane, looked at on its own machine, also while nothing of it runs.

A *finding* is one check's verdict, what it saw, and what to do about it. The looks read and never change
anything; the judgements are plain functions over what was seen.
"""

from control_plane.doctor.finding import Finding, Verdict, worst
from control_plane.doctor.judge import judge_agents, judge_clocks
from control_plane.doctor.look import look_around

__all__ = ["Finding", "Verdict", "judge_agents", "judge_clocks", "look_around", "worst"]
