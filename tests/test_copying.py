"""An optimizer points into the user's arrays, so a copy of it would be a second owner of one state."""

import copy
import pickle

import numpy as np
import pytest
import schuss


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
def test_copying_an_optimizer_is_refused_with_the_way_out(duplicate):
    opt = schuss.AdamW(np.ones(3))
    with pytest.raises(TypeError, match=r"AdamW cannot be pickled or copied.*state_dict"):
        duplicate(opt)
    assert opt.step(np.ones(3)).step == 1
