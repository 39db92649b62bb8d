"use strict";
// Everything that comes from the data enters the page through textContent or an attribute's value, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const { classes, kinds, issues } = data;
const PAGE = 50; // rows of the list that are drawn at a time
const SHOWN_CLASSES = 6; // bars at most, of classes with 1 % or more; the given and the suggested class always have one
const $ = (id) => document.getElementById(id);
const normal = (text) => text.normalize("NFC").toLocaleLowerCase("de");

// ---- Language: German where the browser's first language is, else English; the English text is the key
const german = (navigator.language || "").toLowerCase().startsWith("de");
const GERMAN = {
  "Label issues": "Fragliche Labels", "Help": "Hilfe", "Filter": "Filter", "Labels": "Labels", "Issue": "Befund",
  "Decision": "Entscheidung", "Search": "Suche", "words of the text, or an id": "Wörter des Textes oder eine id",
  "Download corrections.csv": "corrections.csv herunterladen", "No issue fits the filter.": "Kein Befund passt zum Filter.",
  "This page needs JavaScript; its own script is the only one that it runs.": "Diese Seite braucht JavaScript.",
  "Filter the issues": "Befunde filtern", "Issues": "Befunde", "Issues, the worst first": "Befunde, die schlimmsten zuerst",
  "Earlier issues": "Frühere Befunde", "Later issues": "Spätere Befunde", "Decide": "Entscheiden",
  "Probability of each class, by a model that has not seen this row": "Wahrscheinlichkeit jeder Klasse nach einem Modell, das diese Zeile nicht kennt",
  "Class": "Klasse", "Probability": "Wahrscheinlichkeit", "Nearly the same text": "Fast derselbe Text",
  "Keep": "Behalten", "Accept": "Annehmen", "Choose …": "Wählen …", "Exclude": "Ausschließen", "Undo": "Zurück",
  "Previous": "Voriger", "Next": "Nächster", "Which label is right?": "Welches Label ist richtig?", "Cancel": "Abbrechen",
  "Keys": "Tasten", "keep the given label": "das gegebene Label behalten", "accept the suggested label": "das vorgeschlagene Label annehmen",
  "choose another label;": "ein anderes Label wählen;", "to": "bis", "take the likeliest": "nehmen die wahrscheinlichsten",
  "exclude the row from training": "die Zeile vom Training ausschließen", "undo the last decision": "die letzte Entscheidung zurücknehmen",
  "next, previous; in the list also": "nächster, voriger; in der Liste auch", "search;": "suchen;", "clears": "leert die Suche",
  "download corrections.csv": "corrections.csv herunterladen", "this help": "diese Hilfe", "Single keys decide": "Einzelne Tasten entscheiden",
  "Each decision moves on to the next undecided issue. Decisions stay in this browser;": "Jede Entscheidung führt zum nächsten offenen Befund. Entscheidungen bleiben in diesem Browser;",
  "carries them to the training:": "bringt sie ins Training:", "Close": "Schließen", "Forget all decisions": "Alle Entscheidungen vergessen",
  "Forget all decisions on this list?": "Alle Entscheidungen zu dieser Liste vergessen?",
  "This browser keeps nothing for this page: download corrections.csv before you close it.": "Dieser Browser behält nichts für diese Seite: corrections.csv vor dem Schließen herunterladen.",
  "Decisions cannot be kept in this browser: download corrections.csv before you close the page.": "Entscheidungen bleiben nicht in diesem Browser: corrections.csv vor dem Schließen herunterladen.",
  "All {n} issues are decided. Download corrections.csv.": "Alle {n} Befunde sind entschieden. Jetzt corrections.csv herunterladen.",
  "All issues of this list are decided.": "Alle Befunde dieser Liste sind entschieden.",
  "Saved corrections.csv: {n} rows. The browser calls a second one corrections (1).csv: use the newest.":
    "corrections.csv gespeichert: {n} Zeilen. Eine zweite nennt der Browser corrections (1).csv: die neueste gilt.",
  "Nothing to undo.": "Nichts zurückzunehmen.", "Undone: rank {n}": "Zurückgenommen: Rang {n}", "Nothing is decided yet.": "Noch nichts entschieden.",
  "✓ kept": "✓ behalten", "✕ excluded": "✕ ausgeschlossen", "not decided yet": "noch nicht entschieden",
  "{n} of {all} shown": "{n} von {all} gezeigt", "{n} of {all} decided": "{n} von {all} entschieden", "of": "von",
  "rank {n}, id ": "Rang {n}, id ", "given": "gegeben", "suggested": "vorgeschlagen", "all": "alle", "undecided": "offen", "kept": "behalten",
  "relabelled": "geändert", "excluded": "ausgeschlossen", "label probably wrong": "Label wahrscheinlich falsch",
  "near-duplicate with another label": "fast gleicher Text mit anderem Label", "near-duplicate in another file": "fast gleicher Text in anderer Datei",
  "near-duplicate": "fast gleicher Text", "outlier": "Ausreißer", "broken text": "kaputter Text", "Unlike all other texts.": "Anders als alle anderen Texte.",
};
const NOTES = [ // beginnings of notes, which go on with what was found
  [/^Nearly the same text: /, "Fast derselbe Text: "], [/ and (\d+) more\.$/, " und $1 weitere."], [/^Broken text: /, "Kaputter Text: "],
  [/fewer than (\d+) words/, "weniger als $1 Wörter"], [/no letters/, "keine Buchstaben"], [/a control character/, "ein Steuerzeichen"],
  [/UTF-8 was read as another encoding/, "UTF-8 wurde falsch gelesen"],
  [/a replacement character: the text was decoded wrongly/, "ein Ersatzzeichen: der Text wurde falsch gelesen"],
];
const count = (value) => value.toLocaleString(german ? "de" : "en");

function t(text, values = {}) {
  const translated = (german && GERMAN[text]) || text;
  return translated.replace(/\{(\w+)\}/g, (_, name) => count(values[name]));
}

function translateNote(note) {
  const known = german && GERMAN[note];
  return known || (german ? NOTES.reduce((text, [pattern, translated]) => text.replace(pattern, translated), note) : note);
}

function translatePage() { // before any data are on it
  document.documentElement.lang = german ? "de" : "en";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest("script, code, kbd")) continue;
    const text = node.data.replace(/\s+/g, " ").trim();
    if (text) node.data = node.data.replace(/\S[\s\S]*\S|\S/, () => t(text));
  }
  for (const element of document.querySelectorAll("[aria-label], [placeholder]")) {
    for (const name of ["aria-label", "placeholder"]) {
      if (element.hasAttribute(name)) element.setAttribute(name, t(element.getAttribute(name)));
    }
  }
}

const haystack = issues.map((issue) => normal(issue.id + "\n" + issue.text));

// ---- Decisions: a log of [issue, action, class or null], so that undo is to drop the last, and the store holds it all
const ISSUE_OF = new Map(issues.map((issue, index) => [issue.id, index]));
const EARLIER = data.earlier.filter(([id]) => ISSUE_OF.has(id)).map(([id, , label, action]) =>
  [ISSUE_OF.get(id), action, action === "relabel" ? classes.indexOf(label) : null]);
const ELSEWHERE = data.earlier.filter(([id]) => !ISSUE_OF.has(id)); // decided in an earlier round, not in this list
let log = [...EARLIER];
let decided = new Map(); // issue -> [action, class or null], the last decision on it
let view = []; // the issues that fit the filter
let current = -1;
let drawn; // the issue that is on the screen

function replay() {
  decided = new Map(log.map(([issue, action, label]) => [issue, [action, label]]));
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(data.key) || "{}");
    log = (Array.isArray(kept.log) ? kept.log : EARLIER).filter(([issue, action, label]) =>
      issue in issues && data.actions.includes(action) && (action !== "relabel" || label in classes));
    current = kept.current in issues ? kept.current : -1;
    $("keys-on").checked = localStorage.getItem("label-issues:keys") !== "off";
  } catch (error) {
    warn(t("This browser keeps nothing for this page: download corrections.csv before you close it."));
  }
  replay();
  if (current < 0) current = Math.max(issues.findIndex((_, index) => !decided.has(index)), 0);
}

function save() {
  try {
    localStorage.setItem(data.key, JSON.stringify({ log, current }));
  } catch (error) {
    warn(t("Decisions cannot be kept in this browser: download corrections.csv before you close the page."));
  }
}

function warn(message) {
  $("warning").textContent = message;
  $("warning").hidden = false;
}

function decide(action, label = null) {
  if (!view.length) return;
  if (action === "relabel" && label === issues[current].given) [action, label] = ["keep", null];
  log.push([current, action, label]);
  replay();
  say(`${verdict(current)}, ${t("rank {n}, id ", { n: current + 1 })}${issues[current].id}`);
  const position = view.indexOf(current);
  const ahead = [...view.slice(position + 1), ...view.slice(0, Math.max(position, 0))];
  const next = ahead.find((issue) => !decided.has(issue));
  if (next !== undefined) current = next;
  else if (decided.size === issues.length) say(t("All {n} issues are decided. Download corrections.csv.", { n: issues.length }), true);
  else say(t("All issues of this list are decided."), true);
  filter();
  save();
}

function undo() {
  if (!log.length) return say(t("Nothing to undo."));
  current = log.pop()[0];
  replay();
  say(t("Undone: rank {n}", { n: current + 1 }), true); // a filter may hide it
  filter();
  save();
}

function verdict(issue) {
  const [action, label] = decided.get(issue) || [];
  return { keep: t("✓ kept"), relabel: `✓ ${classes[label]}`, exclude: t("✕ excluded") }[action] || "";
}

// ---- corrections.csv; the guard must be the one of common/reading/spreadsheets.py
function guard(cell) {
  const starts = (text, more) => [...data.formulaStarts, ...more].some((start) => text.startsWith(start));
  return starts(cell, []) || (cell.startsWith("'") && starts(cell.slice(1), ["'"])) ? "'" + cell : cell;
}

function corrections() {
  const rows = [...decided].sort(([a], [b]) => a - b).map(([issue, [action, label]]) =>
    [issues[issue].id, classes[issues[issue].given], action === "relabel" ? classes[label] : "", action]);
  const field = (cell) => (/[",\r\n;\t]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return [data.columns, ...[...rows, ...ELSEWHERE].map((row) => row.map(guard))].map((row) => row.map(field).join(",") + "\n").join("");
}

function download() {
  const rows = decided.size + ELSEWHERE.length;
  if (!rows) return say(t("Nothing is decided yet."));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([corrections()], { type: "text/csv;charset=utf-8" }));
  link.download = "corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(t("Saved corrections.csv: {n} rows. The browser calls a second one corrections (1).csv: use the newest.", { n: rows }), true);
}

// ---- Filter and list
function filter() {
  const [pair, kind, state] = [$("pair").value, $("kind").value, $("state").value];
  const words = normal($("search").value).split(/\s+/).filter(Boolean);
  view = [];
  issues.forEach((issue, index) => {
    if (pair && pair !== `${issue.given},${issue.suggested}`) return;
    if (kind && !issue.issue.includes(kind)) return;
    if (state && state !== (decided.get(index) || ["undecided"])[0]) return;
    if (words.every((word) => haystack[index].includes(word))) view.push(index);
  });
  if (view.length && !view.includes(current)) current = view.find((issue) => issue > current) ?? view.at(-1);
  draw();
}

function draw() {
  const all = issues.length;
  $("shown").textContent = $("shown-short").textContent = t("{n} of {all} shown", { n: view.length, all });
  $("progress").max = issues.length || 1;
  $("progress").value = decided.size;
  $("progress-text").textContent = t("{n} of {all} decided", { n: decided.size, all });
  $("download").disabled = !decided.size && !ELSEWHERE.length;
  $("download").classList.toggle("ready", decided.size === issues.length);
  $("undo").disabled = !log.length;
  for (const id of ["keep", "accept", "choose", "exclude", "previous", "next"]) $(id).disabled = !view.length;
  drawList();
  drawDetail();
}

function drawList() {
  const page = Math.floor(Math.max(view.indexOf(current), 0) / PAGE);
  const rows = view.slice(page * PAGE, (page + 1) * PAGE);
  $("list").replaceChildren(...rows.map((index) => {
    const issue = issues[index];
    const [rank, labels] = [part("span", "rank", index + 1), part("span", "labels", ...labelsOf(issue))];
    const line = part("div", "line", rank, labels, part("span", "verdict", verdict(index)));
    const snippet = part("div", "snippet", issue.text.slice(0, 120));
    snippet.dir = "auto";
    snippet.lang = "de";
    const item = part("li", "", line, snippet);
    item.id = `issue-${index}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", index === current);
    item.addEventListener("click", () => show(index));
    return item;
  }));
  $("list").setAttribute("aria-activedescendant", rows.includes(current) ? `issue-${current}` : "");
  const chosen = $(`issue-${current}`);
  if (chosen) { // scrollIntoView would move the whole page on a phone
    const list = $("list");
    const top = chosen.offsetTop - list.offsetTop;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + chosen.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + chosen.offsetHeight - list.clientHeight;
  }
  const shown = `${count(page * PAGE + 1)}–${count(page * PAGE + rows.length)}`;
  $("page").textContent = view.length ? `${shown} ${t("of")} ${count(view.length)}` : "–";
  $("page-back").disabled = page === 0;
  $("page-on").disabled = (page + 1) * PAGE >= view.length;
}

function drawDetail() {
  $("empty").hidden = view.length > 0;
  $("issue").hidden = !view.length;
  if (!view.length) return;
  const issue = issues[current];
  $("heading").replaceChildren(...labelsOf(issue), part("span", "place", t("rank {n}, id ", { n: current + 1 }) + issue.id));
  $("badges").replaceChildren(...issue.issue.map((kind) => part("span", "", t(kinds[kind]))));
  $("decision").textContent = verdict(current) || t("not decided yet");
  $("decision").classList.toggle("open", !decided.has(current));
  const order = byProbability(issue);
  const shown = order.filter((label, place) =>
    label === issue.given || label === issue.suggested || (place < SHOWN_CLASSES && issue.probabilities[label] >= 0.01));
  $("bars").tBodies[0].replaceChildren(...shown.map((label) => bar(issue, label)));
  $("notes").replaceChildren(...issue.notes.map((note) => part("li", "", translateNote(note))));
  $("text").textContent = issue.text;
  $("issue").classList.toggle("pair", issue.duplicates.length > 0);
  $("duplicates").hidden = !issue.duplicates.length;
  $("duplicate-texts").replaceChildren(...issue.duplicates.flatMap(([place, text]) => {
    const other = part("div", "other", text);
    other.dir = "auto";
    other.lang = "de";
    return [part("h4", "", place), other];
  }));
  if (drawn !== current) { // another issue is read from its top
    $("detail").scrollTop = 0; // wide: the text scrolls in its own column
    if (drawn !== undefined && $("detail").getBoundingClientRect().top < 0) $("detail").scrollIntoView(); // narrow
  }
  drawn = current;
}

function labelsOf(issue) {
  const given = part("span", "given", classes[issue.given]);
  return issue.suggested === issue.given ? [given] : [given, " → ", part("span", "suggested", classes[issue.suggested])];
}

function roleOf(issue, label) {
  return label === issue.given ? "given" : label === issue.suggested ? "suggested" : "";
}

function bar(issue, label) {
  const role = roleOf(issue, label);
  const name = part("th", role, classes[label]);
  name.scope = "row";
  if (role) name.append(" ", part("small", "", t(role)));
  const fill = part("div", "fill");
  fill.style.width = `${100 * issue.probabilities[label]}%`;
  const cell = part("td", "", part("div", "bar", part("div", "track", fill), part("span", "percent", percent(issue, label))));
  return part("tr", role, name, cell);
}

function percent(issue, label) {
  const share = issue.probabilities[label];
  const digits = share < 0.0995 ? 1 : 0;
  const value = (100 * share).toLocaleString(german ? "de" : "en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${value}\u00a0%`;
}

function byProbability(issue) {
  return classes.map((_, label) => label).sort((a, b) => issue.probabilities[b] - issue.probabilities[a] || a - b);
}

function part(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

let hiding;

function say(message, visible = false) { // read out by screen readers; what ends a task is seen, too
  $("status").textContent = message;
  $("status").classList.toggle("quiet", !visible);
  clearTimeout(hiding);
  if (visible) hiding = setTimeout(() => $("status").classList.add("quiet"), 8000);
}

// ---- Moving about
function show(index) {
  current = index;
  draw();
  save();
}

function move(step) {
  if (!view.length) return;
  const position = view.indexOf(current) + step;
  show(view[Math.min(Math.max(position, 0), view.length - 1)]);
}

function movePage(step) {
  const page = Math.floor(Math.max(view.indexOf(current), 0) / PAGE) + step;
  show(view[Math.min(Math.max(page * PAGE, 0), view.length - 1)]);
}

function openChoices() {
  if (!view.length) return;
  $("choices").replaceChildren(...byProbability(issues[current]).map((label, place) => {
    const key = place < 9 ? [part("kbd", "", place + 1)] : [];
    const name = part("span", `grow ${roleOf(issues[current], label)}`, classes[label]);
    const button = part("button", "", ...key, name, part("small", "", percent(issues[current], label)));
    button.type = "button";
    button.addEventListener("click", () => { $("choose-dialog").close(); decide("relabel", label); });
    return button;
  }));
  $("choose-dialog").showModal();
}

const actions = {
  keep: () => decide("keep"),
  accept: () => view.length && decide("relabel", issues[current].suggested),
  choose: openChoices,
  exclude: () => decide("exclude"),
  undo,
  previous: () => move(-1),
  next: () => move(1),
  "page-back": () => movePage(-1),
  "page-on": () => movePage(1),
  download,
  "help-button": () => $("help").showModal(),
  forget: () => {
    if (!confirm(t("Forget all decisions on this list?"))) return;
    log = [];
    replay();
    $("help").close();
    filter();
    save();
  },
};
const keys = {
  k: "keep", a: "accept", c: "choose", x: "exclude", u: "undo", p: "previous", n: "next", d: "download", "?": "help-button",
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if ($("choose-dialog").open) {
    const choice = $("choices").children[Number(event.key) - 1];
    if (/^[1-9]$/.test(event.key) && choice) choice.click();
  } else if (event.key === "Escape" && event.target === $("search")) {
    $("search").value = "";
    filter();
    $("list").focus();
  } else if (event.key === "Enter" && event.target === $("search")) {
    event.preventDefault();
    $("list").focus();
  } else if (!typing && !$("help").open) {
    const inList = event.target === $("list");
    const jump = inList && { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    const action = $("keys-on").checked || event.key === "?" ? keys[event.key.toLowerCase()] : undefined;
    if (jump) move(jump);
    else if (event.key === "/" && $("keys-on").checked) { $("filters").open = true; $("search").focus(); }
    else if (action) { // a key that is held down goes through the list, but decides once
      if (!event.repeat || action === "previous" || action === "next") actions[action]();
    } else return;
    event.preventDefault();
  }
}

// ---- Start
function fillSelect(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => {
    const option = part("option", "", text);
    option.value = value;
    return option;
  }));
}

function start() {
  translatePage();
  document.title = `${t("Label issues")}: ${data.title}`;
  $("command").textContent = data.command;
  $("title").textContent = data.title;
  const tally = (values) => {
    const counts = new Map();
    values.forEach((value) => counts.set(value, (counts.get(value) || 0) + 1));
    return [...counts].sort((a, b) => b[1] - a[1]);
  };
  const pairs = tally(issues.map((issue) => `${issue.given},${issue.suggested}`)).map(([pair, number]) =>
    [pair, `${pair.split(",").map((label) => classes[label]).join(" → ")} (${count(number)})`]);
  const found = tally(issues.flatMap((issue) => issue.issue)).map(([kind, number]) => [kind, `${t(kinds[kind])} (${count(number)})`]);
  const states = { undecided: "undecided", keep: "kept", relabel: "relabelled", exclude: "excluded" };
  fillSelect($("pair"), [["", t("all")], ...pairs]);
  fillSelect($("kind"), [["", t("all")], ...found]);
  fillSelect($("state"), [["", t("all")], ...Object.entries(states).map(([state, name]) => [state, t(name)])]);
  if (matchMedia("(max-width: 48rem)").matches) $("filters").open = false;
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  for (const id of ["pair", "kind", "state", "search"]) $(id).addEventListener("input", filter);
  for (const id of ["pair", "kind", "state"]) { // after a choice with the mouse, keys decide again
    let pointed = false;
    $(id).addEventListener("pointerdown", () => { pointed = true; });
    $(id).addEventListener("keydown", () => { pointed = false; });
    $(id).addEventListener("change", () => { if (pointed) $("list").focus({ preventScroll: true }); });
  }
  $("filters").querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  $("keys-on").addEventListener("change", () => {
    try { localStorage.setItem("label-issues:keys", $("keys-on").checked ? "on" : "off"); } catch (error) { /* kept for this visit */ }
  });
  document.addEventListener("keydown", onKey);
  window.addEventListener("storage", (event) => { // another tab has decided; this one stays where it is
    if (event.key !== data.key) return;
    const here = current;
    load();
    current = here;
    filter();
  });
  load();
  filter();
}

start();
