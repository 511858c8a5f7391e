"""Is what was deployed alive? Asked before a run: a broken function must not look like a loss."""

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fleet_sim.cloud import collect
from fleet_sim.cloud.deploy import StackOutputs
from fleet_sim.cloud.stacks import DeployError
from fleet_sim.cloud.target import Target


def ready(target: Target, outputs: StackOutputs) -> None:
    """Invoke the processor with an empty batch and ask the API for its summary.

    Both have loaded their code when this returns, so the run's first messages do not measure a cold
    start. `DeployError` names the function that fails and what it says.
    """
    try:
        answer = target.client("lambda").invoke(
            FunctionName=outputs.processor, Payload=msgspec.json.encode({"Records": []})
        )
        said = answer["Payload"].read().decode(errors="replace")
    except (ClientError, BotoCoreError) as error:
        raise DeployError(f"{outputs.processor} cannot be invoked: {error}") from error
    if answer.get("FunctionError"):
        raise DeployError(f"{outputs.processor} fails on an empty batch: {said[:500]}")
    try:
        collect.summary(outputs)
    except collect.CollectError as error:
        raise DeployError(f"the API does not answer: {error}") from error
