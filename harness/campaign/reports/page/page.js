"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("rows").textContent);
  const STEP = 150;

  // A pattern is the place of a text, and the figures that go into its gaps.
  const words = ([place, ...figures]) => {
    let next = 0;
    return data.texts[place].replace(/\u001f/g, () => figures[next++]);
  };
  const element = (name, text, css) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (css) made.className = css;
    return made;
  };

  const rows = data.rows.map((row) => {
    const [name, group, kernel, outcome, standsFor, findings, evidence, repeat, reason] = row;
    return { name, group, kernel, outcome, standsFor, findings, evidence, repeat, reason,
             oracles: new Set(findings.map((finding) => finding[0])) };
  });
  const sentence = (row) => row.reason ? words(row.reason) : row.findings.length ? words(row.findings[0][1]) : "";
  const textOf = (row) => row.text ??= [
    words(row.name), data.groups[row.group], data.kernels[row.kernel], data.outcomes[row.outcome],
    row.reason ? words(row.reason) : "",
    ...row.findings.flatMap(([oracle, ...lines]) => [data.oracles[oracle], ...lines.map(words)]),
  ].join("\n").toLowerCase();

  const verdicts = new Map();
  const fill = (select, texts) => texts.forEach((text, place) => {
    const option = element("option", text);
    option.value = place;
    select.append(option);
  });
  fill(byId("oracle"), data.oracles);
  fill(byId("kernel"), data.kernels);
  data.outcomes.forEach((name, place) => {
    const count = rows.reduce((sum, row) => sum + (row.outcome === place ? row.standsFor : 0), 0);
    if (!count) return;
    const label = element("label"), box = element("input");
    box.type = "checkbox";
    box.checked = true;
    label.append(box, ` ${name} ${count.toLocaleString("en")}`);
    byId("verdicts").append(label);
    verdicts.set(place, box);
  });

  let found = [], shown = 0;
  const openRow = (details, row) => {
    const body = element("div");
    if (row.findings.length) {
      const list = element("ul", undefined, "findings");
      for (const [oracle, what, ...lines] of row.findings) {
        const item = element("li");
        item.append(element("b", data.oracles[oracle]), `: ${words(what)}`);
        if (lines.length) item.append(element("pre", lines.map(words).join("\n")));
        list.append(item);
      }
      body.append(list);
    }
    body.append(element("p", `${data.groups[row.group]}, kernel ${data.kernels[row.kernel]}`, "dim"));
    if (row.repeat) body.append(element("pre", words(row.repeat), "command"));
    if (row.evidence) body.append(element("p", `Evidence: ${words(row.evidence)}`));
    details.append(body);
  };
  const line = (row) => {
    const details = element("details"), summary = element("summary");
    const outcome = data.outcomes[row.outcome];
    const badge = element("span");
    badge.append(element("span", outcome, `badge ${outcome}`));
    const many = row.standsFor > 1 ? `${row.standsFor.toLocaleString("en")} alike. ` : "";
    const name = words(row.name);
    const short = name.length > 90 ? `${name.slice(0, 80)} ..` : name;
    const title = element("span", short);
    if (data.kernels.length > 1) title.append(" ", element("span", data.kernels[row.kernel], "dim"));
    summary.append(badge, title, element("span", many + sentence(row), "dim"));
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) {
        if (short !== name) details.append(element("div", name));
        openRow(details, row);
      }
    });
    return details;
  };
  const showMore = () => {
    const part = document.createDocumentFragment();
    for (const row of found.slice(shown, shown + STEP)) part.append(line(row));
    shown = Math.min(found.length, shown + STEP);
    byId("list").append(part);
    byId("more").hidden = shown >= found.length;
  };
  const search = () => {
    const wanted = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const oracle = byId("oracle").value, kernel = byId("kernel").value;
    found = rows.filter((row) => verdicts.get(row.outcome)?.checked
      && (oracle === "" || row.oracles.has(Number(oracle)))
      && (kernel === "" || row.kernel === Number(kernel))
      && wanted.every((word) => textOf(row).includes(word)));
    shown = 0;
    byId("list").replaceChildren();
    const cases = found.reduce((sum, row) => sum + row.standsFor, 0);
    byId("found").textContent = `${cases.toLocaleString("en")} cases in ${found.length.toLocaleString("en")} rows`;
    showMore();
  };

  let waiting = 0;
  byId("filter").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 60);
  });
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", showMore);
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && shown < found.length) showMore();
  }, { rootMargin: "300px" }).observe(byId("more"));
  document.addEventListener("keydown", (event) => {
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName ?? "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      byId("words").focus();
    } else if (event.key === "Escape" && event.target === byId("words")) {
      byId("words").value = "";
      search();
    }
  });
  const openTarget = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  byId("filter").hidden = false;
  search();
})();
