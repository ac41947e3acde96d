"""Makes tests/data/glow: small Glow checkpoints by TensorFlow's own Saver, with log p and its gradient in float64.

Run by hand in an environment with TensorFlow (it is none of the library's needs): `python tests/reference_glow.py`. The
flow below is written out from the description of the published format, layer by layer, and shares nothing with ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "data" / "glow"
CASES = {
    # name: levels, depth, width, side, affine, LU, learned top prior, scope in front
    "affine": (2, 2, 8, 8, True, False, True, ""),
    "additive_lu": (2, 1, 6, 8, False, True, False, "bedroom/"),
}


def variables(levels, depth, width, affine, lu, top, rng):
    """Return all model variables, random but tame, by name."""
    found = {}

    def conv(name, size, c_in, c_out, zero=False):
        found[f"{name}/W"] = rng.normal(0, 0.05 if zero else 0.3 / size, (size, size, c_in + (size > 1), c_out))
        if zero:
            found[f"{name}/b"] = rng.normal(0, 0.1, (1, 1, 1, c_out))
            found[f"{name}/logs"] = rng.normal(0, 0.1, (1, c_out))
        else:
            actnorm(name, c_out)

    def actnorm(name, channels):
        found[f"{name}/actnorm_center/b"] = rng.normal(0, 0.2, (1, 1, 1, channels))
        found[f"{name}/actnorm_scale/logs"] = rng.normal(0, 0.1, (1, 1, 1, channels))

    channels = 3
    for level in range(levels):
        channels *= 4
        for step in range(depth):
            name = f"model/{level}/{step}"
            actnorm(name, channels)
            W = np.linalg.qr(rng.normal(size=(channels, channels)))[0]
            if lu:
                found[f"{name}/invconv/P"] = np.eye(channels)[rng.permutation(channels)]
                # What lies outside the triangles is never used; it is there to show that.
                found[f"{name}/invconv/L"] = rng.normal(0, 0.1, (channels, channels))
                found[f"{name}/invconv/U"] = rng.normal(0, 0.1, (channels, channels))
                found[f"{name}/invconv/sign_S"] = rng.choice([-1.0, 1.0], channels)
                found[f"{name}/invconv/log_S"] = rng.normal(0, 0.1, channels)
            else:
                found[f"{name}/invconv/W"] = W + rng.normal(0, 0.05, W.shape)
            conv(f"{name}/f1/l_1", 3, channels // 2, width)
            conv(f"{name}/f1/l_2", 1, width, width)
            conv(f"{name}/f1/l_last", 3, width, channels if affine else channels // 2, zero=True)
        if level < levels - 1:
            channels //= 2
            conv(f"model/pool{level}/conv", 3, channels, 2 * channels, zero=True)
    if top:
        conv("model/prior/p", 3, 2 * channels, 2 * channels, zero=True)
    return {name: value.astype(np.float32) for name, value in found.items()}


def log_prob(x, v, levels, depth, affine, lu, top):
    """Return log p of images x (B, H, W, 3) in [0, 1], as a density over them, with the weights v."""
    import tensorflow as tf

    def edge(h):
        one = tf.ones_like(h[..., :1])
        ring = tf.pad(one * 0, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
        return tf.concat([tf.pad(h, [[0, 0], [1, 1], [1, 1], [0, 0]]), ring], -1)

    def conv(name, h, zero=False):
        W = v[f"{name}/W"]
        h = tf.nn.conv2d(edge(h) if W.shape[0] == 3 else h, W, 1, "VALID")
        if zero:
            return (h + v[f"{name}/b"]) * tf.exp(3 * v[f"{name}/logs"])
        return (h + v[f"{name}/actnorm_center/b"]) * tf.exp(3 * v[f"{name}/actnorm_scale/logs"])

    def squeeze(h):
        B, H, W, C = h.shape
        h = tf.reshape(h, [B, H // 2, 2, W // 2, 2, C])
        return tf.reshape(tf.transpose(h, [0, 1, 3, 5, 2, 4]), [B, H // 2, W // 2, 4 * C])

    def normal(z, mean, logs):
        return tf.reduce_sum(-0.5 * (np.log(2 * np.pi) + 2 * logs + (z - mean) ** 2 / tf.exp(2 * logs)), [1, 2, 3])

    z, total = x - 0.5, 0.0
    for level in range(levels):
        z = squeeze(z)
        pixels, channels = z.shape[1] * z.shape[2], z.shape[3]
        for step in range(depth):
            name = f"model/{level}/{step}"
            logs = 3 * v[f"{name}/actnorm_scale/logs"]
            z = (z + v[f"{name}/actnorm_center/b"]) * tf.exp(logs)
            if lu:
                L = np.tril(v[f"{name}/invconv/L"], -1) + np.eye(channels)
                U = np.triu(v[f"{name}/invconv/U"], 1)
                U += np.diag(v[f"{name}/invconv/sign_S"] * np.exp(v[f"{name}/invconv/log_S"]))
                W = v[f"{name}/invconv/P"] @ L @ U
            else:
                W = v[f"{name}/invconv/W"]
            z = tf.einsum("bhwc,cd->bhwd", z, W)
            total += pixels * (tf.reduce_sum(logs) + np.log(np.abs(np.linalg.det(W))))
            z1, z2 = z[..., : channels // 2], z[..., channels // 2 :]
            h = tf.nn.relu(conv(f"{name}/f1/l_1", z1))
            h = tf.nn.relu(conv(f"{name}/f1/l_2", h))
            h = conv(f"{name}/f1/l_last", h, zero=True)
            if affine:
                scale = tf.sigmoid(h[..., 1::2] + 2)
                z2 = (z2 + h[..., 0::2]) * scale
                total += tf.reduce_sum(tf.math.log(scale), [1, 2, 3])
            else:
                z2 += h
            z = tf.concat([z1, z2], -1)
        if level < levels - 1:
            z, out = z[..., : channels // 2], z[..., channels // 2 :]
            h = conv(f"model/pool{level}/conv", z, zero=True)
            total += normal(out, h[..., 0::2], h[..., 1::2])
    if top:
        h = conv("model/prior/p", tf.concat([z, z], -1) * 0, zero=True)
        return total + normal(z, h[..., :channels], h[..., channels:])
    return total + normal(z, 0.0 * z, 0.0 * z)


def make(name, levels, depth, width, side, affine, lu, top, scope):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    weights = variables(levels, depth, width, affine, lu, top, rng)
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        stored = [tf.compat.v1.Variable(value, name=scope + key) for key, value in weights.items()]
        first = next(iter(weights))
        extras = {f"{scope}{first}/ExponentialMovingAverage": weights[first] + 1, "Variable": weights[first] * 0}
        extras |= {"Variable_1": np.float32(3), "global_step": np.int64(7), f"{scope}{first}/Adam": weights[first] * 0}
        stored += [tf.compat.v1.Variable(value, name=key) for key, value in extras.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(stored)
        saver.save(session, str(folder / "model_best_loss.ckpt"), write_meta_graph=False)
    x = rng.uniform(size=(3, side, side, 3)).astype(np.float32)
    v = {key: value.astype(np.float64) for key, value in weights.items()}
    found = {"x": x.transpose(0, 3, 1, 2)}
    for kind in ("learned", "standard") if top else ("standard",):
        point = tf.constant(x, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(point)
            nats = log_prob(point, v, levels, depth, affine, lu, kind == "learned")
            total = tf.reduce_sum(nats)
        found[f"{kind}_log_prob"] = nats.numpy()
        found[f"{kind}_score"] = tape.gradient(total, point).numpy().transpose(0, 3, 1, 2)
    np.savez_compressed(folder / "reference.npz", **found)
    print(name, found[f"{kind}_log_prob"])


if __name__ == "__main__":
    for case, settings in CASES.items():
        make(case, *settings)
