"use strict";
// Shows the examples that the filters leave, goes through them by keys, and
// looks up other listings by their ids. Without it all examples are shown.
(() => {
  const filters = document.querySelector(".filters");
  if (!filters) return;
  const examples = [...document.querySelectorAll(".example")];
  const count = document.querySelector("#count");
  const field = (name) => filters.elements[name];
  const all = JSON.parse(document.querySelector("#all").textContent);
  const others = document.querySelector("#others");
  const asExample = new Set(examples.map((one) => Number(one.dataset.row)));
  const pictures = new Set(all.pictures);
  const MOST = 20;  // other listings that are shown

  // Text is only ever put in as text.
  const node = (tag, classes, text, ...inside) => {
    const made = document.createElement(tag);
    made.className = classes;
    made.textContent = text;
    made.append(...inside);
    return made;
  };
  const title = (row) => all.titles[row] || "(no title)";
  const thumb = (row) => {
    if (!pictures.has(row)) return node("span", "thumb", "not on this page");
    const made = node("span", `thumb t${row}`, "");
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", title(row));
    return made;
  };
  const near = (own) => (row, place) => {
    const hit = all.products[own] !== -1
      && all.products[own] === all.products[row];
    const line = node("div", "", `${place + 1}. ${all.ids[row]} `,
      ...(hit ? [node("b", "", "\u2713 same")] : []));
    return node("li", hit ? "hit" : "miss", "", thumb(row), line,
      node("div", "title", title(row)));
  };
  const other = (row) => {
    const found = all.near[row];
    const made = node("article", "example", "",
      node("h3", "", title(row)),
      node("p", "facts", `${all.ids[row]} \u00b7 ` + (found
        ? `nearest by ${all.system}`
        : "no query: no other listing of its product")));
    if (found) made.append(node("ol", "near", "", ...found.map(near(row))));
    made.tabIndex = 0;
    return made;
  };
  const lookUp = () => {
    const wanted = field("id").value.trim().toLowerCase();
    const rows = [];
    all.ids.forEach((id, row) => {
      if (wanted && rows.length <= MOST && !asExample.has(row)
        && id.toLowerCase().includes(wanted)) rows.push(row);
    });
    others.replaceChildren(...rows.slice(0, MOST).map(other));
    if (wanted && !rows.length && examples.every((one) => one.hidden)) {
      others.append(node("p", "facts", "No listing has this in its id."));
    }
    if (rows.length) {
      others.prepend(node("h3", "", "Other listings with this in their id"));
    }
    if (rows.length > MOST) {
      others.append(node("p", "facts", `Only ${MOST} are shown.`));
    }
  };

  const fits = (example) => {
    const data = example.dataset;
    const { group, category, failed, id } = Object.fromEntries(
      new FormData(filters));
    const wanted = id.trim().toLowerCase();
    return (!group || data.groups.split(" ").includes(group))
      && (!category || data.category === category)
      && (!failed || JSON.parse(data.failed).includes(failed)
        || (failed === " any" && data.failed !== "[]")
        || (failed === " none" && data.failed === "[]"))
      && (!wanted || JSON.parse(data.ids)
        .some((one) => one.toLowerCase().includes(wanted)));
  };
  const apply = () => {
    let shown = 0;
    for (const example of examples) {
      example.hidden = !fits(example);
      shown += !example.hidden;
    }
    count.textContent = `${shown} of ${examples.length} queries shown`;
    lookUp();
  };
  const go = (step) => {
    const shown = [...document.querySelectorAll(".example:not([hidden])")];
    const now = shown.indexOf(document.activeElement.closest(".example"));
    const next = now < 0 && step < 0 ? shown.length - 1 : now + step;
    const example = shown[Math.max(0, Math.min(next, shown.length - 1))];
    if (example) {
      example.focus();
      example.scrollIntoView({ block: "nearest" });
    }
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (typing) {
      if (event.key === "Escape") event.target.blur();
    } else if (event.key === "j") {
      go(1);
    } else if (event.key === "k") {
      go(-1);
    } else if (event.key === "/") {
      event.preventDefault();
      field("id").focus();
    }
  });
  filters.addEventListener("input", apply);
  filters.addEventListener("change", apply);  // all that some programs send
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  filters.hidden = false;
  apply();
})();
