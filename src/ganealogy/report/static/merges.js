// The second edge of each merge: a dashed line from the other parent's picture to the merge's.
(() => {
  const tree = document.querySelector(".tree");
  const merges = tree ? [...tree.querySelectorAll("[data-merged]")] : [];
  if (!merges.length) return;
  const NS = "http://www.w3.org/2000/svg";
  const host = tree.querySelector("li"); // a list has no other children
  const canvas = host.appendChild(document.createElementNS(NS, "svg"));
  canvas.classList.add("merges");
  canvas.setAttribute("aria-hidden", "true"); // the verdict beside the line says it in words
  const picture = node => node.querySelector("img, .blank").getBoundingClientRect();
  const draw = () => {
    const origin = host.getBoundingClientRect();
    canvas.replaceChildren();
    for (const node of merges) {
      const other = tree.querySelector(`[data-name="${node.dataset.merged}"]`);
      if (!other) continue;
      const from = picture(other), to = picture(node);
      const above = from.top < to.top;
      const [x1, y1] = [from.right - origin.left, from.top + from.height / 2 - origin.top];
      const [x2, y2] = [to.left + to.width / 2 - origin.left, (above ? to.top : to.bottom) - origin.top];
      const path = canvas.appendChild(document.createElementNS(NS, "path"));
      path.setAttribute("d", `M ${x1} ${y1} Q ${x2} ${y1} ${x2} ${y2}`);
    }
  };
  new ResizeObserver(draw).observe(tree);
})();
