import { render } from 'preact';
import './style.css';
render(<p>Vigil</p>, document.getElementById('app')!);
