"use strict";
// Shows the examples that the filters leave, and goes through them by keys.
// Without it the page shows all of them.
(() => {
  const filters = document.querySelector(".filters");
  if (!filters) return;
  const examples = [...document.querySelectorAll(".example")];
  const count = document.querySelector("#count");
  const field = (name) => filters.elements[name];

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
  };
  const go = (step) => {
    const shown = examples.filter((example) => !example.hidden);
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
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  filters.hidden = false;
  apply();
})();
