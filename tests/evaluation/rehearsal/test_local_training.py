import numpy as np

from device_runtime.rounds.trainer import train
from evaluation.rehearsal.ground import Ground
from evaluation.rehearsal.local_training import Job, open_trainers


def test_processes_train_as_a_device_does(ground: Ground) -> None:
    plan = ground.settings.plain_plan
    texts = list(ground.people.training.values())[:3]
    jobs = [Job(each, seed) for seed, each in enumerate(texts)]
    with open_trainers(plan, ground.graph, ground.vocabulary, 2) as trainers:
        in_processes = trainers.train(ground.pretrained, jobs)
    with open_trainers(plan, ground.graph, ground.vocabulary, 0) as trainers:
        here = trainers.train(ground.pretrained, jobs)
    for job, one, other in zip(jobs, in_processes, here, strict=True):
        device = train(
            *(plan, ground.graph, ground.pretrained, job.texts, ground.vocabulary),
            seed=job.seed,
            should_stop=lambda: False,
        )
        np.testing.assert_array_equal(one.update, device.update)
        np.testing.assert_array_equal(other.update, device.update)
    assert (in_processes[0].update != in_processes[1].update).any()
