// Links into the page open what they lead to, also where it is folded or filtered away.
function follow() {
  let name = location.hash.slice(1);
  try {
    name = decodeURIComponent(name);
  } catch {
    return; // somebody's garbage leads nowhere
  }
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
// the same link again is no change of the hash
for (const link of all('a[href^="#"]')) link.addEventListener("click", () => setTimeout(follow));
follow();
