// The page: choose tasks, send a text, show what they answer and which words spoke for it.

const SHOWN_CLASSES = 5;
const SHOWN_WORDS = 5;
/** With more tasks than this, only the first is selected at the beginning. */
const MOST_SELECTED = 10;

const byId = (id) => document.getElementById(id);
const [form, text, second, tasks] = ["form", "text", "second", "tasks"].map(byId);
const [filter, count, status, errorLine] = ["filter", "count", "status", "error"].map(byId);
const answers = byId("answers");

/** A new element with the given properties and children. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** The JSON that the server answers; its message as an Error if it refuses. */
async function ask(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(found.error ?? `The server answered with the status ${response.status}.`);
  }
  return found;
}

// -- tasks ---------------------------------------------------------------------------------

const boxes = () => [...tasks.querySelectorAll("input")];
const selected = () => boxes().filter((box) => box.checked).map((box) => box.value);

function showCount() {
  const all = boxes();
  const shown = all.filter((box) => !box.closest("li").hidden).length;
  count.textContent =
    `${selected().length} of ${all.length} selected` +
    (shown < all.length ? `, ${shown} shown` : "");
}

function showMatches() {
  const wanted = filter.value.trim().toLowerCase();
  for (const box of boxes()) {
    box.closest("li").hidden = !box.value.toLowerCase().includes(wanted);
  }
  showCount();
}

function select(wanted) {
  for (const box of boxes()) {
    box.checked = wanted(box);
  }
  showCount();
}

async function loadTasks() {
  const { tasks: names } = await ask("tasks");
  tasks.replaceChildren(
    ...names.map((name, number) => {
      const checked = number === 0 || names.length <= MOST_SELECTED;
      const box = element("input", { type: "checkbox", value: name, checked });
      return element("li", {}, element("label", {}, box, element("span", {}, name)));
    }),
  );
  showCount();
}

// -- answers -------------------------------------------------------------------------------

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function probabilityRow([label, share]) {
  const meter = element("meter", { value: share, min: 0, max: 1 });
  meter.setAttribute("aria-hidden", "true"); // the number says the same
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, label),
    element("td", { className: "number" }, percent(share)),
    element("td", {}, meter),
  );
}

function probabilityTable(rows, caption) {
  return element(
    "table",
    {},
    element("caption", { className: "hidden" }, caption),
    element("tbody", {}, ...rows.map(probabilityRow)),
  );
}

/** The prediction: a label, any number of labels, numbers, or a tag for each word. */
function prediction(found) {
  if (found.tags) {
    return found.tags.map((tag, number) => `${found.words[number]} (${tag})`).join(" ") || "none";
  }
  const all = [found.label ?? found.labels ?? found.value ?? found.values].flat();
  const shown = all.map((each) => (typeof each === "number" ? +each.toPrecision(6) : each));
  return shown.join(", ") || "none";
}

function probabilities(found) {
  if (!found.probabilities) {
    return [];
  }
  const rows = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]);
  const rest = rows.slice(SHOWN_CLASSES);
  const parts = [
    probabilityTable(rows.slice(0, SHOWN_CLASSES), `Probabilities of ${found.task}`),
  ];
  if (rest.length) {
    const summary = element("summary", {}, `${rest.length} more`);
    const table = probabilityTable(rest, `Other probabilities of ${found.task}`);
    parts.push(element("details", {}, summary, table));
  }
  return parts;
}

function card(found, sent) {
  const button = element("button", { type: "button" }, "Which words spoke for it?");
  button.setAttribute("aria-label", `Which words spoke for the answer of ${found.task}?`);
  const words = element("div", { tabIndex: -1 });
  words.setAttribute("aria-live", "polite");
  button.addEventListener("click", () => explain(found.task, sent, button, words));
  const made = element(
    "article",
    {},
    element("h3", {}, found.task),
    element("p", {}, "Answer: ", element("strong", {}, prediction(found))),
    ...probabilities(found),
  );
  // Of several numbers or tags, no single one is meant.
  if (!found.values && !found.tags) {
    made.append(button, words);
  }
  return made;
}

async function predict() {
  errorLine.textContent = "";
  const names = selected();
  if (!names.length) {
    errorLine.textContent = "Select at least one task.";
    return;
  }
  const sent = second.value.trim() ? [text.value, second.value] : text.value;
  byId("predict").disabled = true;
  status.textContent = "Computing …";
  try {
    const body = { texts: names.map(() => sent), tasks: names };
    const { predictions } = await ask("predict", body);
    answers.replaceChildren(...predictions.map((found) => card(found, sent)));
    status.textContent = predictions.length === 1 ? "1 answer." : `${predictions.length} answers.`;
  } catch (error) {
    answers.replaceChildren();
    status.textContent = "";
    errorLine.textContent = error.message;
  } finally {
    byId("predict").disabled = false;
  }
}

// -- words ---------------------------------------------------------------------------------

/** One sentence with its words marked; positions count characters, not UTF-16 units. */
function sentence(number, whole, words, largest) {
  const letters = Array.from(whole);
  const made = element("p", { className: "sentence" });
  let at = 0;
  for (const word of words.filter((each) => each.text === number)) {
    const mark = element("mark", { className: word.attribution > 0 ? "for" : "against" });
    mark.textContent = letters.slice(word.start, word.end).join("");
    mark.title = signed(word.attribution);
    mark.style.setProperty("--strength", Math.abs(word.attribution) / largest);
    made.append(letters.slice(at, word.start).join(""), mark);
    at = word.end;
  }
  const rest = letters.slice(at).join("");
  made.append(element("span", { className: rest.trim() ? "unseen" : "" }, rest));
  return made;
}

const signed = (value) => (value > 0 ? "+" : "−") + Math.abs(value).toFixed(3);

function list(title, words) {
  const shown = words.slice(0, SHOWN_WORDS).map((each) => `${each.word} (${signed(each.attribution)})`);
  return element("p", {}, `${title}: ${shown.join(", ") || "none"}`);
}

async function explain(task, sent, button, place) {
  button.disabled = true;
  place.textContent = "Computing …";
  try {
    const { label, words } = await ask("explain", { text: sent, task });
    const largest = Math.max(...words.map((each) => Math.abs(each.attribution)), Number.MIN_VALUE);
    const order = [...words].sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution));
    const what = label === null ? "For a larger number" : `For “${label}”`;
    place.replaceChildren(
      ...[sent].flat().map((each, number) => sentence(number, each, words, largest)),
      list(what, order.filter((each) => each.attribution > 0)),
      list("Against it", order.filter((each) => each.attribution < 0)),
    );
    place.focus(); // not lost with the button
    button.hidden = true;
  } catch (error) {
    place.textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

// -- events --------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  predict();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !byId("predict").disabled) {
    form.requestSubmit();
  }
});
filter.addEventListener("input", showMatches);
filter.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
    event.preventDefault(); // it filters while one types; nothing is sent
  }
});
tasks.addEventListener("change", showCount);
byId("all").addEventListener("click", () =>
  select((box) => box.checked || !box.closest("li").hidden),
);
byId("none").addEventListener("click", () => select(() => false));
loadTasks().catch((error) => {
  errorLine.textContent = error.message;
});
