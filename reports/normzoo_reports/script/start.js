// Links into the page open what they lead to, also where it is folded or filtered away.
function follow() {
  const name = decodeURIComponent(location.hash.slice(1));
  const target = name && document.getElementById(name);
  if (!target) return;
  for (let folded = target.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
  if (target.closest("[hidden]") && !target.closest("#filters")) clearFilters();
  target.scrollIntoView();
}

if (document.getElementById("filters")) startFilters();
startSorting();
startHover();
startCurves();
startDetails();
addEventListener("hashchange", follow);
follow();
