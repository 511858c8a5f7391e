"""Verifying a fleet's metadata without verifying the same signatures ten thousand times."""

from collections.abc import Mapping

from fleet_sim.vehicle.ota_trust import RefusedError, Trusted, check_metadata

_MOST = 1_000


class CheckOnce:
    """`check_metadata`, whose answer is the same for all vehicles that know the same, within a
    minute of the vehicle's clock."""

    def __init__(self) -> None:
        self._verdicts: dict[object, Trusted | RefusedError] = {}

    def __call__(
        self, trust: Mapping[str, bytes], bundle: bytes, target: str, epoch_s: float
    ) -> Trusted:
        key = (tuple(trust.items()), bundle, target, epoch_s // 60)
        verdict = self._verdicts.get(key)
        if verdict is None:
            try:
                verdict = check_metadata(trust, bundle, target, epoch_s)
            except RefusedError as refused:
                verdict = refused
            if len(self._verdicts) >= _MOST:
                self._verdicts.clear()
            self._verdicts[key] = verdict
        if isinstance(verdict, RefusedError):
            raise verdict.with_traceback(None)  # it is raised again and again
        return verdict
