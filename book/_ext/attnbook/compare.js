// Two runs side by side, and a reader's own record beside ours. Inlined by compare_runs.py.
(() => {
  const { runs, differences, defaults } = JSON.parse(document.getElementById('compare-data').textContent);
  const SERIES = ['series-1', 'series-2']; // whole words: unused styles are cut
  const byId = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...children) => {
    const svg = ['svg', 'path', 'text', 'line', 'circle'].includes(tag);
    const node = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const points = (share) => `${share < 0 ? '\u2212' : '+'}${Math.abs(100 * share).toFixed(1)}`;
  const share = (m) => `${percent(m.value)} [${(100 * m.low).toFixed(1)}, ${(100 * m.high).toFixed(1)}]`;
  const plain = (value) => (value === null || value === undefined ? 'none' : String(value));
  const count = (value) => (value >= 1000 ? Math.round(value).toLocaleString('en') : plain(value));

  const table = (caption, head, rows) => {
    const line = (cells, tag) => make('tr', {}, ...cells.map((cell, i) =>
      make(i && tag === 'td' ? 'td' : 'th', { scope: tag === 'th' ? 'col' : 'row' }, cell)));
    const node = make('table', { class: 'table plain' }, make('caption', {}, caption),
      make('thead', {}, line(head, 'th')), make('tbody', {}, ...rows.map((row) => line(row, 'td'))));
    node.querySelectorAll('td').forEach((cell) => cell.removeAttribute('scope'));
    return make('div', { class: 'compare-table', tabindex: '0', role: 'region', 'aria-label': caption }, node);
  };

  // ------------------------------------------------------------------------------- side by side
  const pairDifference = (a, b) => {
    const forward = differences[`${a.name} ${b.name}`];
    const back = differences[`${b.name} ${a.name}`];
    return forward ?? (back && [-back[0], -back[2], -back[1]]);
  };
  const verdictOf = (a, b) => {
    if (a === b) return 'This is one run, chosen twice.';
    if (a.sha256 !== b.sha256) return 'They were tested on different data: their accuracies can\u2019t be compared.';
    const d = pairDifference(a, b);
    if (!d) return 'At least one has no answers to single images: only their intervals can be compared.';
    const told = `Test accuracy of the first less that of the second: ${points(d[0])} points [${points(d[1])}, ${points(d[2])}]`;
    const apart = d[1] > 0 || d[2] < 0;
    return `${told}, 95%, image by image. ${apart ? 'That is more than the choice of test images explains.' : 'They can\u2019t be told apart.'}`;
  };
  const chart = (pair, curve) => {
    const [w, h, left, bottom] = [560, 260, 66, 40];
    const values = pair.map((run) => run.curves[curve].map((v) => (v === null ? NaN : v)));
    const all = values.flat().filter(Number.isFinite);
    const isShare = curve.endsWith('accuracy');
    const words = byId('compare-curve').selectedOptions[0].textContent;
    if (!all.length) return make('p', {}, `Neither run has recorded its ${words}.`);
    const low = 0, high = Math.max(...all, 1e-6);
    const epochs = Math.max(2, ...values.map((v) => v.length));
    const x = (i) => left + (i * (w - left - 12)) / (epochs - 1);
    const y = (v) => h - bottom - ((v - low) * (h - bottom - 14)) / (high - low);
    const show = (v) => (isShare ? percent(v) : v.toFixed(2));
    const said = pair.map((run, i) => {
      const own = values[i].filter(Number.isFinite);
      return own.length ? `${run.label}: from ${show(own[0])} after the first epoch to ${show(own.at(-1))} after epoch ${values[i].length}` : `${run.label}: none`;
    }).join('; ');
    const svg = make('svg', { viewBox: `0 0 ${w} ${h}`, role: 'img', 'aria-label': `Line chart of the ${words}. ${said}.` });
    for (const v of [low, (low + high) / 2, high]) {
      svg.append(make('line', { x1: left, x2: w - 12, y1: y(v), y2: y(v), class: 'grid' }),
        make('text', { x: left - 8, y: y(v) + 4, 'text-anchor': 'end' }, show(v)));
    }
    for (const i of new Set([0, Math.floor((epochs - 1) / 2), epochs - 1]))
      svg.append(make('text', { x: x(i), y: h - bottom + 18, 'text-anchor': 'middle' }, String(i + 1)));
    svg.append(make('text', { x: (left + w) / 2, y: h - 4, 'text-anchor': 'middle' }, 'epoch'));
    values.forEach((own, k) => {
      const at = own.map((v, i) => [x(i), y(v)]).filter(([, b]) => Number.isFinite(b));
      svg.append(make('path', { class: SERIES[k], d: at.map(([a, b], i) => `${i ? 'L' : 'M'}${a.toFixed(1)} ${b.toFixed(1)}`).join('') }));
      at.forEach(([a, b]) => svg.append(make('circle', { class: SERIES[k], cx: a, cy: b, r: 2.5 })));
    });
    const legend = make('figcaption', {}, `The ${words} over the epochs: `,
      make('span', { class: 'key-1' }, `${pair[0].label} (solid)`), ', ', make('span', { class: 'key-2' }, `${pair[1].label} (dashed)`),
      pair[0].sha256 === pair[1].sha256 ? '.' : '. The data are different, so the curves can\u2019t be compared.');
    return make('figure', {}, svg, legend);
  };
  const metricRows = (pair) => {
    const row = (name, get) => [name, ...pair.map(get)];
    return [
      row('Test accuracy [95% interval]', (r) => share(r.metrics.test_accuracy)),
      row('Validation accuracy [95% interval]', (r) => share(r.metrics.val_accuracy)),
      row('Test loss, nats', (r) => r.metrics.test_loss.toFixed(3)),
      row('Epoch that was kept', (r) => plain(r.metrics.best_epoch)),
      row('Parameters', (r) => count(r.cost.parameters)),
      row('Training images per second', (r) => count(Math.round(r.cost.train_images_per_second))),
      row('Seconds of training', (r) => count(Math.round(r.cost.wall_seconds))),
      row('Data', (r) => r.data),
      row('Device', (r) => r.device),
      row('Commit', (r) => r.commit),
      row('Date', (r) => r.date),
      row('Page', (r) => make('a', { href: `runs/records/${encodeURIComponent(r.name)}.html` }, r.name)),
    ];
  };
  const apart = (a, b, ignored = []) =>
    [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()
      .filter((key) => !ignored.includes(key) && JSON.stringify(a[key]) !== JSON.stringify(b[key]));
  const compare = () => {
    const pair = ['compare-first', 'compare-second'].map((id) => runs[byId(id).value]);
    const [a, b] = pair;
    const other = apart(a.config, b.config);
    const settings = ['Setting', 'First run', 'Second run'];
    const measured = ['Measured', 'First run', 'Second run'];
    byId('compare-result').replaceChildren(
      make('p', { class: 'compare-verdict' }, verdictOf(a, b)),
      other.length ? table('Settings that differ', settings, other.map((key) => [key, plain(a.config[key]), plain(b.config[key])]))
        : make('p', {}, 'No setting differs.'),
      table('What was measured', measured, metricRows(pair)), chart(pair, byId('compare-curve').value));
  };
  if (byId('compare-first')) {
    for (const id of ['compare-first', 'compare-second'])
      byId(id).append(...runs.map((run, i) => make('option', { value: i }, run.label)));
    // To begin with, a student and its teacher, of the reference runs if there are such; else any two
    // models on the same data.
    const isKept = (run) => /reference$/.test(run.config.profile);
    const couple = (wanted) => runs.flatMap((a, i) => runs.map((b, j) => [i, j, a, b]))
      .find(([i, j, a, b]) => i !== j && a.sha256 === b.sha256 && wanted(a, b));
    const teaches = (a, b) => a.teacher === b.name;
    const [first, second] = couple((a, b) => teaches(a, b) && isKept(a)) ?? couple(teaches)
      ?? couple((a, b) => isKept(a) && a.title !== b.title) ?? couple((a, b) => a.title !== b.title) ?? [0, 1];
    byId('compare-first').value = first;
    byId('compare-second').value = second;
    for (const id of ['compare-first', 'compare-second', 'compare-curve']) byId(id).addEventListener('change', compare);
    compare();
  }

  // ------------------------------------------------------------------------------ your own record
  const KIND = /-s\d+-[0-9a-f]{8}$/; // the seed and the digest of the whole configuration
  const PLACES = ['data_path', 'device', 'runs_dir'];
  const FREE = ['seed', ...PLACES];
  const read = (id) => {
    const text = byId(id).value.trim();
    const file = `${id.replace('check-', '')}.json`;
    if (!text) return undefined;
    let value;
    try { value = JSON.parse(text); } catch (fault) { throw new Error(`${file} is not whole: ${fault.message}`); }
    const kind = value === null ? 'null' : Array.isArray(value) ? 'a list' : { string: 'a string', number: 'a number', boolean: 'true or false' }[typeof value];
    if (kind) throw new Error(`What was pasted as ${file} is ${kind}. The file holds an object: paste all of it, from { to }.`);
    return value;
  };
  const lacks = (object, kinds) => {
    const value = (path) => path.split('.').reduce((inner, key) => inner?.[key], object);
    return Object.entries(kinds).filter(([path, kind]) => typeof value(path) !== kind).map(([path]) => path).join(', ');
  };
  const RECORD = { name: 'string', 'dataset.sha256': 'string', 'metrics.test_accuracy.value': 'number',
    'metrics.test_accuracy.low': 'number', 'metrics.test_accuracy.high': 'number', 'metrics.test_accuracy.n': 'number' };
  const CONFIG = { model: 'string', dataset: 'string', profile: 'string', seed: 'number' };
  const outOfRange = ({ value, low, high, n }) => {
    const ranges = [['value', value, 0, 1, 'a share from 0 to 1'], ['low', low, 0, value, `from 0 to the value, ${value}`],
      ['high', high, value, 1, `from the value, ${value}, to 1`]];
    const wrong = ranges.find(([, number, least, most]) => number < least || number > most);
    if (wrong) return `metrics.test_accuracy.${wrong[0]} is ${wrong[1]}, but must be ${wrong[4]}.`;
    return Number.isInteger(n) && n > 0 ? '' : `metrics.test_accuracy.n is ${n}, but must be a whole number of images, 1 or more.`;
  };
  // An older config.json lacks later parameters and says true or false of amp: complete_values in attnlib/config.py.
  const complete = (config) => ({ ...defaults, ...config, ...(typeof config.amp === 'boolean' && { amp: config.amp ? 'true' : 'auto' }) });
  // The name without its digest, as TrainConfig.name in attnlib/config.py makes it.
  const nameOf = (config) => [config.model.replaceAll('/', '_'), ...(config.model.startsWith('atresnet') ? [config.tokens] : []),
    ...(config.pretrained ? ['pretrained'] : []), ...(config.initial_checkpoint ? ['finetuned'] : []), ...((config.distillation ?? 'none') === 'none' ? [] : [config.distillation]),
    config.dataset, config.profile, `s${config.seed}`].join('-');
  const isSaid = (value, said) => (typeof value === 'number' ? Number(said) === value : plain(value).toLowerCase() === said.toLowerCase());
  const contradiction = (record, config) => {
    const name = nameOf(config);
    if (record.name.replace(/-[0-9a-f]{8}$/, '') !== name) return `the record is named ${record.name}, but a run of this config.json has a name that begins ${name}`;
    for (const [, key, quoted] of String(record.command).matchAll(/-p (\w+) ('[^']*'|\S+)/g)) {
      const said = quoted.replaceAll("'", '');
      if (!PLACES.includes(key) && !isSaid(config[key], said)) return `the record\u2019s command sets ${key} to ${said}, but in config.json it is ${plain(config[key])}`;
    }
    const named = runs.find((run) => run.name === record.name);
    const keys = named ? apart(config, named.config, PLACES) : [];
    if (keys.length) return `the record has the name of a run here, ${named.label}, whose settings differ from config.json in ${keys.join(', ')}`;
    const twin = named ? undefined : runs.find((run) => !apart(config, run.config, ['device', 'runs_dir']).length);
    return twin ? `the record is named ${record.name}, but a run of this config.json is named ${twin.name}` : '';
  };
  // The run here that a record stands beside, how it does, and what else may explain a difference.
  const match = (record, config) => {
    const same = runs.find((run) => run.name === record.name);
    if (same) return [same, 'of exactly this configuration, seed included', ''];
    if (config) {
      const [near, keys] = runs.map((run) => [run, apart(config, run.config, FREE)]).sort((a, b) => a[1].length - b[1].length)[0];
      if (keys.length) return [null, `No run here has this configuration. The nearest, ${near.label}, differs in ${keys.join(', ')}.`];
      return near.config.seed === config.seed ? [near, 'of this configuration, seed included, but for the data\u2019s path', '']
        : [near, 'of this configuration but for the seed', ' Another seed may explain it.'];
    }
    const kind = record.name.replace(KIND, '');
    const alike = runs.find((run) => run.name.replace(KIND, '') === kind);
    return alike ? [alike, 'of this model, data set and profile; paste config.json to compare every setting', ' Another seed or another setting may explain it.']
      : [null, 'No run here has this model, data set and profile.'];
  };
  // Newcombe's interval of a difference from two Wilson intervals, images taken as independent.
  const newcombe = (a, b) => {
    const d = a.value - b.value;
    return [d, d - Math.hypot(a.value - a.low, b.high - b.value), d + Math.hypot(a.high - a.value, b.value - b.low)];
  };
  const isOurs = (record, run) => record.name === run.name && record.finished === run.finished
    && String(record.git?.commit ?? 'None').slice(0, 12) === run.commit;
  const judge = (record, pasted) => {
    const missing = lacks(record, RECORD);
    if (missing) return ['fault', `This is no finished run record: it lacks ${missing}, or holds something else there.`];
    const [own, fault] = [record.metrics.test_accuracy, outOfRange(record.metrics.test_accuracy)];
    if (fault) return ['fault', fault];
    const unset = pasted && lacks(pasted, CONFIG);
    if (unset) return ['fault', `This is no config.json of a run: it lacks ${unset}, or holds something else there.`];
    const config = pasted && complete(pasted);
    const against = config && contradiction(record, config);
    if (against) return ['fault', `record.json and config.json contradict each other: ${against}.`];
    const [run, how, excuse] = match(record, config);
    if (!run) return ['none', how];
    const head = `It stands beside ${run.label} (${run.name}), a run ${how}.`;
    if (run.sha256 !== record.dataset.sha256) return ['none', `${head} But it was tested on other data (another SHA-256), so the accuracies can\u2019t be compared.`];
    const ours = run.metrics.test_accuracy;
    if (isOurs(record, run)) {
      const altered = ['value', 'low', 'high', 'n'].filter((key) => Math.abs(own[key] - ours[key]) > 1e-5);
      return altered.length ? ['fault', `This has the name, the time and the commit of our record of ${run.label}, but another ${altered.map((key) => `metrics.test_accuracy.${key}`).join(', ')}: it was altered, or ours was.`]
        : ['itself', `This is our record itself, ${run.label} (${run.name}), so it agrees with itself. That is no repetition: paste the record of a run of your own.`];
    }
    const [d, low, high] = newcombe(own, ours);
    const agrees = low <= 0 && high >= 0;
    const told = `${share(own)} against ${share(ours)}: a difference of ${points(d)} points [${points(low)}, ${points(high)}]`;
    const counts = own.n === ours.n ? '' : ` It was tested on ${count(own.n)} images, ours on ${count(ours.n)}.`;
    return [agrees ? 'agrees' : 'differs', `${head} ${told}.${counts} ${agrees ? 'It agrees: the interval of the difference holds zero.' : `It does not agree: the interval of the difference leaves out zero.${excuse}`}`];
  };
  byId('check-form')?.addEventListener('submit', (event) => {
    event.preventDefault();
    let verdict;
    try {
      const record = read('check-record');
      verdict = record ? judge(record, read('check-config')) : ['fault', 'Paste the text of a record.json first.'];
    } catch (fault) { verdict = ['fault', fault.message]; }
    byId('check-result').dataset.verdict = verdict[0];
    byId('check-result').replaceChildren(make('p', {}, verdict[1]));
  });
})();
