"use strict";
// Which map of attention is shown: a head's, the mean of heads, or rollout; and what it says.

/** Attention of one token to all, by the map that is chosen: a head's, their mean, or rollout. */
function mapRow(answer, {layer, map, token}) {
  if (answer.rows) return answer.rows[map][layer - 1]; // of the class token alone, as the first page has it recorded
  if (map === "rollout") return rollout(answer, layer).subarray(token * TOKENS, (token + 1) * TOKENS);
  const whole = answer.attention[layer - 1], row = new Float32Array(TOKENS);
  const heads = map === "mean" ? [...Array(HEADS).keys()] : [Number(map) - 1];
  for (const head of heads) {
    const at = (head * TOKENS + token) * TOKENS;
    for (let k = 0; k < TOKENS; k++) row[k] += whole[at + k] / heads.length;
  }
  return row;
}

/** Rollout from the first layer through this one: (mean of heads + identity) / 2, multiplied. */
function rollout(answer, layer) {
  answer.rollouts ??= [];
  while (answer.rollouts.length < layer) {
    const before = answer.rollouts.at(-1), depth = answer.rollouts.length + 1, step = new Float32Array(TOKENS * TOKENS);
    for (let token = 0; token < TOKENS; token++) {
      const row = mapRow(answer, {layer: depth, map: "mean", token});
      row[token] += 1;
      for (let k = 0; k < TOKENS; k++) step[token * TOKENS + k] = row[k] / 2;
    }
    answer.rollouts.push(before ? product(step, before) : step);
  }
  return answer.rollouts[layer - 1];
}

function product(a, b) {
  const out = new Float32Array(TOKENS * TOKENS);
  for (let i = 0; i < TOKENS; i++) {
    for (let j = 0; j < TOKENS; j++) {
      const share = a[i * TOKENS + j];
      for (let k = 0; k < TOKENS; k++) out[i * TOKENS + k] += share * b[j * TOKENS + k];
    }
  }
  return out;
}

const MAPS = [...Array(HEADS).keys()].map(head => [String(head + 1), `head ${head + 1}`]).concat([["mean", "mean"], ["rollout", "rollout"]]);
const mapName = ({layer, map}) => map === "rollout" ? `Rollout through layer ${layer}` : `Layer ${layer}, ${map === "mean" ? "mean of heads" : `head ${map}`}`;
/** What full colour stands for: the map's own maximum, or four times an equal share. */
const scaleOf = (row, stretched) => (stretched ? Math.max(...row.subarray(PREFIX), 1e-12) : 4 / TOKENS);

/** What a map says in words: its strongest patch, and how strong it is. */
function mapSentence(row, state) {
  const patches = row.subarray(PREFIX), most = largest(patches), before = row.subarray(0, PREFIX).reduce((a, b) => a + b, 0);
  return `${mapName(state)}: ${tokenName(state.token)} attends most to ${tokenName(PREFIX + most)}, with ${percent(patches[most])} of its attention, `
    + `${short(patches[most] * TOKENS)} times an equal share. ${PREFIX === 1 ? "The class token takes" : "The two tokens before the patches take"} ${percent(before)}.`;
}
