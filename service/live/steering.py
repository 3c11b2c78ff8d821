"""The steering of a candidate: which share of users gets it, by S3's pointer, else the admin API, else the settings."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from service.files import written_whole
from service.live.generation import Slot
from service.model.rollout.arms import Experiment
from service.model.storage.shelf import unwritable
from service.observe.logs import log_event

Percent: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=100)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Said(msgspec.Struct, frozen=True):
    """What was said of the candidate, None where nothing was: by the admin API, and by the pointer in S3."""

    admin: Percent | None = None
    s3: Percent | None = None
    s3_shadow: Share | None = None

    def over(self, settings: Experiment) -> Experiment:
        """Return the experiment: what was said, else what the settings say."""
        said = [percent for percent in (self.s3, self.admin, settings.percent) if percent is not None]
        shadow = settings.shadow if self.s3_shadow is None else self.s3_shadow
        return Experiment(settings.name, said[0], shadow)


_said = msgspec.json.Decoder(Said)


class Steering:
    """Says to the slot which users get the candidate, and remembers it in the state directory for the next start."""

    def __init__(self, slot: Slot, settings: Experiment, state_dir: Path) -> None:
        self._slot = slot
        self._settings = settings
        self._path = state_dir / "experiment.json"
        self._said = self._recalled()
        self._slot.experiment = self._said.over(settings)

    async def set_by_admin(self, percent: float | None) -> Experiment:
        """Take the percentage of the admin API, None for none; return what is in force, which S3 may say otherwise.

        Raises StateDirectoryError, OutOfResourcesError, and changes nothing then.
        """
        said = msgspec.structs.replace(self._said, admin=percent)
        try:
            await asyncio.to_thread(self._remember, said)
        except OSError as error:
            raise unwritable(self._path.parent, error) from None
        return self._follow(said)

    async def set_by_s3(self, percent: float | None, shadow: float | None = None) -> Experiment:
        """Take what the pointer in S3 says, None where it says nothing; return what is in force."""
        said = msgspec.structs.replace(self._said, s3=percent, s3_shadow=shadow)
        if said != self._said:
            try:
                await asyncio.to_thread(self._remember, said)
            except OSError as error:  # S3 says it again after the next start
                log_event("housekeeping_failed", detail=str(error))
        return self._follow(said)

    def forget_s3(self) -> None:
        """Pass over what S3 said before this start, because it is not followed any more."""
        self._said = Said(self._said.admin)
        self._slot.experiment = self._said.over(self._settings)

    def _follow(self, said: Said) -> Experiment:
        self._said, experiment = said, said.over(self._settings)
        if experiment != self._slot.experiment:
            log_event("experiment", name=experiment.name, percent=experiment.percent, shadow=experiment.shadow)
            self._slot.run_experiment(experiment)
        return experiment

    def _recalled(self) -> Said:
        try:
            return _said.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeError):  # then nothing was said
            return Said()

    def _remember(self, said: Said) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self._path, self._path.with_suffix(f".{secrets.token_hex(4)}")) as file:
            file.write(msgspec.json.encode(said))
