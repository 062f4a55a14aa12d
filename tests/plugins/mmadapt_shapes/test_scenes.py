"""Scenes move as their words say and stay in the frame."""

import numpy as np
import pytest

from mmadapt_shapes.draw import SIZE
from mmadapt_shapes.scenes import image_scene, picture_of, video_scene
from mmadapt_shapes.world import MOTIONS, combinations


def scenes(motion, count=40):
    rng = np.random.default_rng(0)
    kind = {"colour": "red", "shape": "cross", "motion": motion}
    return [video_scene(rng, kind) for _ in range(count)]


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_shape_stays_inside_the_frame(motion):
    for scene in scenes(motion):
        assert (scene.centre - scene.radius[:, None] >= 0).all()
        assert (scene.centre + scene.radius[:, None] <= SIZE).all()


@pytest.mark.parametrize(
    ("motion", "axis", "sign"),
    [("moving left", 0, -1), ("moving right", 0, 1), ("moving up", 1, -1), ("moving down", 1, 1)],
)
def test_moving_shapes_go_their_way_and_no_other(motion, axis, sign):
    for scene in scenes(motion):
        travel = scene.centre[-1] - scene.centre[0]
        assert sign * travel[axis] >= 28
        assert travel[1 - axis] == 0 and np.ptp(scene.radius) == 0


@pytest.mark.parametrize(("motion", "sign"), [("growing", 1), ("shrinking", -1)])
def test_growing_and_shrinking_stay_in_place(motion, sign):
    for scene in scenes(motion):
        assert sign * (scene.radius[-1] - scene.radius[0]) > 4
        assert np.ptp(scene.centre, axis=0).max() == 0


def test_standing_still_changes_nothing():
    for scene in scenes("standing still"):
        assert np.ptp(scene.radius) == 0 and np.ptp(scene.centre, axis=0).max() == 0


def test_pictures_are_what_their_words_say():
    rng = np.random.default_rng(0)
    for kind in combinations("image", "train"):
        scene = image_scene(rng, kind)
        assert picture_of(scene.centre[0], scene.radius[0]) == (kind["size"], kind["position"])


def test_a_frame_between_the_words_is_no_picture():
    assert picture_of(np.array([32.0, 17.0]), 13.0) is None
    assert picture_of(np.array([32.0, 32.0]), 9.5) is None
